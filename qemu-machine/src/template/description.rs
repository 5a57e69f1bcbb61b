//! What a template says about its machine, in its file `machine.json`: enough to
//! describe the machine again, without the program that made it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::manifest::{of_word, word};
use crate::guests;
use crate::process;
use crate::spec::{
    ChannelConfig, ConsoleConfig, ConsoleDevice, DeviceWithController, MachineSpec, OptionGroup,
};

/// Writes the description of a machine into the directory of its template. Its
/// paths are absolute: the reader has another working directory.
pub(super) fn write(spec: &MachineSpec, directory: &Path) -> io::Result<()> {
    let words = |words: &[OsString]| words.iter().map(|it| word(it)).collect::<Vec<_>>();
    let working = spec.working_directory.clone().unwrap_or_default();
    let working = std::path::absolute(Path::new(".").join(working));
    let environment = spec.environment.iter();
    let environment =
        environment.map(|(key, value)| json!([word(key), optional(value.as_deref())]));
    let description = json!({
        "format": FORMAT,
        "name": spec.name,
        "binary": word(&binary(spec)),
        "wrapper": words(&spec.wrapper),
        "machine_type": optional(spec.machine_type.as_deref()),
        "null_serials": spec.null_serials,
        "channels": spec.channels.iter().map(channel).collect::<Vec<_>>(),
        "firmware": spec.firmware.map(|it| it.file_name),
        "arguments": words(&spec.arguments),
        "environment": environment.collect::<Vec<_>>(),
        "working_directory": word(working?.as_os_str()),
        "has_descriptors": !spec.descriptors.is_empty(),
    });
    fs::write(directory.join(DESCRIPTION), format!("{description:#}\n"))
}

/// Reads the description of a template's machine; fails with a reason.
pub(super) fn read(directory: &Path) -> Result<MachineSpec, String> {
    let text = fs::read(directory.join(DESCRIPTION));
    let text = text.map_err(|error| format!("cannot read {DESCRIPTION}: {error}"))?;
    let value: Value = serde_json::from_slice(&text)
        .map_err(|error| format!("{DESCRIPTION} is not JSON: {error}"))?;
    if value["format"] != FORMAT {
        return Err(format!(
            "{DESCRIPTION} is of another version; make the template again"
        ));
    }
    if value["has_descriptors"] == true {
        return Err(
            "its machine has descriptors of the program that made it, so only that program can \
             open it"
                .to_owned(),
        );
    }
    let mut spec = of_json(&value)
        .ok_or_else(|| format!("{DESCRIPTION} is not complete; make the template again"))?;
    // It may be gone, like the workspace of a test. The paths may all be absolute;
    // others name nothing in here.
    if spec
        .working_directory
        .as_ref()
        .is_some_and(|it| !it.is_dir())
    {
        spec.working_directory = Some(directory.to_owned());
    }
    Ok(spec)
}

fn of_json(value: &Value) -> Option<MachineSpec> {
    let list = |name: &str| value[name].as_array().map(|it| it.iter());
    let words = |name: &str| list(name)?.map(of_word).collect::<Option<Vec<_>>>();
    let mut spec = MachineSpec::new(of_word(&value["binary"])?);
    spec.name = value["name"].as_str().map(str::to_owned);
    spec.wrapper = words("wrapper")?;
    spec.machine_type = of_word(&value["machine_type"]);
    spec.null_serials = usize::try_from(value["null_serials"].as_u64()?).ok()?;
    spec.channels = list("channels")?.map(of_channel).collect::<Option<_>>()?;
    spec.firmware = match value["firmware"].as_str() {
        None => None,
        Some(name) => Some(guests::tiny())
            .filter(|it| it.file_name == name)
            .map(Some)?,
    };
    spec.arguments = words("arguments")?;
    let environment = list("environment")?;
    let environment = environment.map(|pair| Some((of_word(&pair[0])?, of_word(&pair[1]))));
    spec.environment = environment.collect::<Option<_>>()?;
    spec.working_directory = Some(of_word(&value["working_directory"])?.into());
    Some(spec)
}

/// The binary, so that another program finds the same one.
pub(super) fn binary(spec: &MachineSpec) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = process::find(spec.binary(), &path).ok();
    let found = found.and_then(|it| std::path::absolute(it).ok());
    found.map_or_else(|| spec.binary.clone(), PathBuf::into_os_string)
}

fn channel(channel: &ChannelConfig) -> Value {
    match channel {
        ChannelConfig::Console(name, config) => {
            let mut console = match config.device() {
                ConsoleDevice::Serial => json!({"console": "serial"}),
                ConsoleDevice::Semihosting => json!({"console": "semihosting"}),
                ConsoleDevice::Model(model) => {
                    let controller = model.controller.as_ref().map(OptionGroup::as_os_str);
                    json!({
                        "console": "device",
                        "device": word(model.device.as_os_str()),
                        "controller": optional(controller),
                    })
                }
            };
            console["name"] = json!(name);
            console
        }
        ChannelConfig::Monitor(name) => json!({"monitor": name}),
        ChannelConfig::Qtest => json!("qtest"),
        ChannelConfig::GuestAgent(controller) => json!({"agent": word(controller.as_os_str())}),
    }
}

fn of_channel(value: &Value) -> Option<ChannelConfig> {
    if let Some(kind) = value["console"].as_str() {
        let device = match kind {
            "serial" => ConsoleDevice::Serial,
            "semihosting" => ConsoleDevice::Semihosting,
            "device" => ConsoleDevice::Model(DeviceWithController {
                device: OptionGroup::of_text(of_word(&value["device"])?),
                controller: of_word(&value["controller"]).map(OptionGroup::of_text),
            }),
            _ => return None,
        };
        let name = value["name"].as_str().map(str::to_owned);
        return Some(ChannelConfig::Console(name, ConsoleConfig::new(device)));
    }
    if let Some(name) = value["monitor"].as_str() {
        return Some(ChannelConfig::Monitor(name.to_owned()));
    }
    if value == "qtest" {
        return Some(ChannelConfig::Qtest);
    }
    let controller = of_word(&value["agent"])?;
    Some(ChannelConfig::GuestAgent(OptionGroup::of_text(controller)))
}

fn optional(text: Option<&OsStr>) -> Value {
    text.map_or(Value::Null, word)
}

const FORMAT: u64 = 1;
const DESCRIPTION: &str = "machine.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::image::guest_words;
    use crate::{Console, Machine};

    fn scratch() -> PathBuf {
        let name = format!("description-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_machine_that_is_read_is_the_machine_that_was_written() {
        let scratch = scratch();
        let builder = Machine::builder("sh")
            .name("web")
            .machine("q35,hpet=off")
            .memory("64M")
            .null_serials(1)
            .firmware(guests::tiny())
            .console(Console::serial())
            .add_console("second", Console::virtio())
            .add_console("firmware", Console::debugcon(0x402))
            .add_monitor("other")
            .guest_agent()
            .env("KEY", "a value")
            .env_remove("GONE")
            .args(["-kernel", "relative/path"]);
        let spec = builder.spec();
        write(spec, &scratch).unwrap();
        let found = read(&scratch).unwrap();
        assert_eq!(guest_words(&found), guest_words(spec));
        assert_eq!(found.name.as_deref(), Some("web"));
        assert_eq!(found.environment, spec.environment);
        assert!(Path::new(&found.binary).is_absolute());
        assert!(found.working_directory.as_ref().unwrap().is_absolute());
        // Each member is needed, or has a default that changes nothing.
        let path = scratch.join(DESCRIPTION);
        let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for member in ["format", "binary", "channels", "arguments", "environment"] {
            let mut part = whole.clone();
            part.as_object_mut().unwrap().remove(member);
            fs::write(&path, part.to_string()).unwrap();
            assert!(read(&scratch).is_err(), "{member}");
        }
        fs::write(&path, "{").unwrap();
        assert!(read(&scratch).unwrap_err().contains("not JSON"));
        fs::remove_dir_all(&scratch).unwrap();
    }
}
