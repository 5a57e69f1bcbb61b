//! The faults of templates and pools. Other programs' deaths need processes of
//! their own, so tests elsewhere show these rows.

use super::shown_elsewhere::ShownElsewhere;

const FAULTS: &str = "qemu-machine/tests/real/real_template_faults.rs";
const HOSTS: &str = "qemu-machine/tests/real/real_template_hosts.rs";
const FOLDERS: &str = "qemu-machine/tests/real/real_template_folders.rs";
const TEMPLATES: &str = "qemu-machine/tests/real/real_templates.rs";
const LAYERS: &str = "qemu-machine/tests/real/real_template_layers.rs";
const KEY: &str = "qemu-machine/src/template/store/key.rs";
const POOLS: &str = "qemu-machine-cli/tests/real/pools.rs";
const COMMAND: &str = "qemu-machine-cli/tests/real/templates.rs";

pub const ROWS: &[ShownElsewhere] = &[
    ShownElsewhere {
        what: "the maker is killed while others wait for it",
        gets: "one of them makes the template; nothing of the dead maker is left",
        file: FAULTS,
        test: "a_killed_maker_leaves_nothing_and_a_process_that_waits_for_it_makes_the_template",
    },
    ShownElsewhere {
        what: "the maker is killed, and no other template is made",
        gets: "`prune` removes what it left",
        file: FAULTS,
        test: "a_killed_maker_leaves_nothing_after_a_look_at_the_store",
    },
    ShownElsewhere {
        what: "the maker is stopped by SIGSTOP",
        gets: "Timeout for the others; the maker goes on later",
        file: FAULTS,
        test: "who_waits_for_a_maker_that_was_stopped_gives_up_in_time",
    },
    ShownElsewhere {
        what: "several processes make one template; one is killed while it waits",
        gets: "one boot, and the template for all others",
        file: FAULTS,
        test: "processes_that_want_the_same_template_boot_once",
    },
    ShownElsewhere {
        what: "the maker gets a signal, or a step of its set-up fails",
        gets: "the signal's or the step's status; nothing is left",
        file: COMMAND,
        test: "a_maker_that_is_interrupted_or_fails_leaves_nothing",
    },
    ShownElsewhere {
        what: "a clone, or its owner, is killed while it loads",
        gets: "the template is whole; nothing of the clone is left",
        file: FAULTS,
        test: "a_template_whose_clones_are_killed_while_they_load_is_whole",
    },
    ShownElsewhere {
        what: "a file of the template was cut short, touched or removed",
        gets: "Unusable, with the file",
        file: FAULTS,
        test: "a_file_that_was_cut_short_or_touched_is_refused_by_its_name",
    },
    ShownElsewhere {
        what: "a bit of the state has changed; another QEMU, memory or device",
        gets: "refused before the launch, with what differs",
        file: TEMPLATES,
        test: "what_cannot_be_a_clone_is_refused_before_the_launch",
    },
    ShownElsewhere {
        what: "the template is removed while clones run",
        gets: "`remove` refuses; removed by other means, the clones go on",
        file: FAULTS,
        test: "a_removed_template_does_no_harm_to_its_clones",
    },
    ShownElsewhere {
        what: "the guest has mounted a 9p folder",
        gets: "Save, with the folder; the guest goes on, and is frozen after it unmounts",
        file: FOLDERS,
        test: "a_mounted_folder_is_refused_and_each_clone_mounts_its_own",
    },
    ShownElsewhere {
        what: "QEMU cannot save a device of the guest",
        gets: "Save, with the device; the guest goes on",
        file: FAULTS,
        test: "a_freeze_that_fails_leaves_the_guest_running",
    },
    ShownElsewhere {
        what: "the template's path exists, or is on another file system; a disk is gone",
        gets: "File, with the path; the guest goes on",
        file: FAULTS,
        test: "a_template_that_could_not_be_kept_or_cloned_leaves_the_guest_running",
    },
    ShownElsewhere {
        what: "a file that the guest was launched from has changed",
        gets: "InputChanged, with the file; the guest goes on",
        file: LAYERS,
        test: "a_guest_whose_inputs_changed_after_its_launch_is_not_frozen",
    },
    ShownElsewhere {
        what: "the disk is full at the freeze",
        gets: "File or Save, with the path; the guest goes on",
        file: HOSTS,
        test: "a_full_disk_fails_the_freeze_and_the_guest_goes_on",
    },
    ShownElsewhere {
        what: "the disk is full at the launch of a clone",
        gets: "refused, with the path",
        file: HOSTS,
        test: "a_full_disk_refuses_a_clone_for_which_there_is_no_overlay",
    },
    ShownElsewhere {
        what: "the disk is full while the guest's memory grows",
        gets: "an end by SIGBUS; the report names the file of the memory",
        file: HOSTS,
        test: "a_guest_whose_memory_cannot_grow_ends_with_the_reason",
    },
    ShownElsewhere {
        what: "the host has too little memory for another clone",
        gets: "NoSpace, with how much there is; before the launch",
        file: HOSTS,
        test: "a_host_without_memory_for_a_clone_refuses_it_before_the_launch",
    },
    ShownElsewhere {
        what: "the clock goes back",
        gets: "files with a later time are read again for the key",
        file: KEY,
        test: "a_file_that_has_just_changed_or_changes_in_the_future_is_read_again",
    },
    ShownElsewhere {
        what: "the owner of a pool is killed",
        gets: "the kernel ends its clones; the template is whole",
        file: HOSTS,
        test: "a_killed_owner_of_a_pool_leaves_no_clone",
    },
    ShownElsewhere {
        what: "the owner of a published pool is killed or interrupted",
        gets: "all machines end, also those that were taken; `take`: no pool",
        file: POOLS,
        test: "a_pool_whose_owner_is_killed_or_interrupted_leaves_nothing",
    },
    ShownElsewhere {
        what: "many take from a pool at once; one is killed before it has the name",
        gets: "each another machine; the machine of the dead taker ends",
        file: POOLS,
        test: "each_machine_of_a_pool_is_handed_out_once_and_ends_with_it",
    },
    ShownElsewhere {
        what: "a machine that cannot be frozen is to be, by its name",
        gets: "NotFreezable, with what to do; the guest goes on",
        file: COMMAND,
        test: "a_machine_that_runs_is_frozen_by_its_name",
    },
];
