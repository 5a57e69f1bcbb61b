//! Templates of a guest with a shared folder. A test plays the guest's driver,
//! because the Linux guest has none: virtio 1.2, "Legacy Interface", and 9P2000.L.

use std::fs;
use std::path::Path;

use crate::support::{Qemu, Scratch, qemus};
use qemu_machine::error::TemplateError;

use qemu_machine::{Machine, MachineBuilder, Qtest, Wait};

/// The slot of the device on the PCI bus, and where its registers begin.
const SLOT: u32 = 5;
const REGISTERS: u16 = 0xc000;

/// The guest's memory: the queue, a request and its reply.
const QUEUE: u64 = 0x20_0000;
const REQUEST: u64 = 0x30_0000;
const REPLY: u64 = 0x30_1000;
const REPLY_BYTES: u32 = 0x1000;

/// Types of messages; a reply has the type of its request and one more.
const VERSION: u8 = 100;
const ATTACH: u8 = 104;
const WALK: u8 = 110;
const CLUNK: u8 = 120;
const REFUSED: u8 = 7;

const ROOT: u32 = 0;

fn machine(qemu: &Qemu, scratch: &Scratch, shared: &Path) -> MachineBuilder {
    let device = format!("virtio-9p-pci,fsdev=folder,mount_tag=tag,disable-modern=on,addr={SLOT}");
    qemu.bare()
        .memory("64M")
        .base_dir(scratch.path())
        .args(["-serial", "null"])
        .qtest()
        .replace_option("-fsdev", exported(shared))
        .args(["-device", &device])
}

fn exported(folder: &Path) -> String {
    let folder = folder.display();
    format!("local,id=folder,path={folder},security_model=none")
}

/// The driver. Its requests are counted over the guest's whole life.
struct Driver<'a> {
    qtest: &'a Qtest,
    requests: u16,
}

impl<'a> Driver<'a> {
    /// Goes on after this many requests.
    fn of(vm: &'a Machine, requests: u16) -> Self {
        let qtest = vm.qtest();
        Self { qtest, requests }
    }

    /// Makes the device ready.
    fn begin(&self) {
        let out = |register, value| self.qtest.outb(REGISTERS + register, value).wait();
        let configure = |register: u32, value: u32| {
            let address = 0x8000_0000 | SLOT << 11 | register;
            self.qtest.outl(0xcf8, address).wait().unwrap();
            self.qtest.outl(0xcfc, value).wait().unwrap();
        };
        // The base of the registers; ports and bus mastering are on.
        configure(0x10, REGISTERS.into());
        configure(0x04, 5);
        // Acknowledged, a driver, its queue, and ready.
        out(18, 1).unwrap();
        out(18, 3).unwrap();
        let page = u32::try_from(QUEUE >> 12).unwrap();
        self.qtest.outw(REGISTERS + 14, 0).wait().unwrap();
        self.qtest.outl(REGISTERS + 8, page).wait().unwrap();
        out(18, 7).unwrap();
    }

    /// Sends a message, and returns the type of its reply.
    fn ask(&mut self, kind: u8, body: &[u8]) -> u8 {
        let size = self.qtest.inw(REGISTERS + 12).wait().unwrap();
        let length = u32::try_from(body.len() + 7).unwrap();
        let mut message = length.to_le_bytes().to_vec();
        message.push(kind);
        message.extend([0, 0]);
        message.extend(body);
        self.qtest.write(REQUEST, message).wait().unwrap();
        // The request, and behind it the place for the reply.
        let descriptor = |address: u64, length: u32, flags: u16, next: u16| {
            let mut bytes = address.to_le_bytes().to_vec();
            bytes.extend(length.to_le_bytes());
            bytes.extend([flags.to_le_bytes(), next.to_le_bytes()].concat());
            bytes
        };
        let both = [
            descriptor(REQUEST, length, 1, 1),
            descriptor(REPLY, REPLY_BYTES, 2, 0),
        ];
        self.qtest.write(QUEUE, both.concat()).wait().unwrap();
        let available = QUEUE + 16 * u64::from(size);
        let slot = available + 4 + 2 * u64::from(self.requests % size);
        self.requests += 1;
        self.qtest.writew(slot, 0).wait().unwrap();
        let index = available + 2;
        self.qtest.writew(index, self.requests).wait().unwrap();
        self.qtest.outw(REGISTERS + 16, 0).wait().unwrap();
        // The driver of a paused guest gets no interrupt. QEMU answers between two
        // of its questions.
        let used = (available + 6 + 2 * u64::from(size)).next_multiple_of(4096) + 2;
        while self.qtest.readw(used).wait().unwrap() != self.requests {}
        self.qtest.readb(REPLY + 4).wait().unwrap()
    }

    fn mount(&mut self) {
        let version = [&8192_u32.to_le_bytes()[..], &text("9P2000.L")].concat();
        assert_eq!(self.ask(VERSION, &version), VERSION + 1);
        let nobody = u32::MAX.to_le_bytes();
        let [user, path] = [text("root"), text("")];
        let user_id = 0_u32.to_le_bytes();
        let attach = [&ROOT.to_le_bytes()[..], &nobody, &user, &path, &user_id];
        assert_eq!(self.ask(ATTACH, &attach.concat()), ATTACH + 1);
    }

    fn has(&mut self, name: &str) -> bool {
        let file = 1_u32.to_le_bytes();
        let walk = [&ROOT.to_le_bytes()[..], &file, &[1, 0], &text(name)];
        let kind = self.ask(WALK, &walk.concat());
        assert!([WALK + 1, REFUSED].contains(&kind), "{kind}");
        kind == WALK + 1 && self.ask(CLUNK, &file) == CLUNK + 1
    }

    fn unmount(&mut self) {
        assert_eq!(self.ask(CLUNK, &ROOT.to_le_bytes()), CLUNK + 1);
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_le_bytes()[..], text.as_bytes()].concat()
}

#[test]
fn a_mounted_folder_is_refused_and_each_clone_mounts_its_own() {
    for qemu in qemus() {
        let scratch = Scratch::new("folders");
        let [first, second] = ["first", "second"].map(|name| {
            let folder = scratch.join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(name), "").unwrap();
            folder
        });
        let vm = machine(&qemu, &scratch, &first).freezable().launch();
        let vm = vm.wait().unwrap();
        let mut driver = Driver::of(&vm, 0);
        driver.begin();
        driver.mount();
        assert!(driver.has("first") && !driver.has("second"));
        for _ in 0..2 {
            let error = vm.freeze().wait().unwrap_err();
            assert!(matches!(error, TemplateError::Save(_)), "{error}");
            let said = error.to_string();
            assert!(said.contains(first.to_str().unwrap()), "{said}");
            assert!(said.contains("mounted"), "{said}");
            assert!(driver.has("first"));
        }
        driver.unmount();
        let requests = driver.requests;
        let template = vm.freeze().wait().unwrap();
        let clone = template.machine();
        let clone = clone.replace_option("-fsdev", exported(&second));
        let clone = clone.launch().wait().unwrap();
        let mut driver = Driver::of(&clone, requests);
        driver.mount();
        assert!(driver.has("second") && !driver.has("first"));
    }
}
