//! A device, and the controller that it is plugged into.

use super::OptionGroup;

/// A device with its controller.
#[derive(Debug, Clone)]
pub(crate) struct DeviceWithController {
    pub(crate) device: OptionGroup,
    /// Comes before the device. `None` if the machine has a bus for it.
    pub(crate) controller: Option<OptionGroup>,
}

impl DeviceWithController {
    /// The options for both. They connect the device with the character device
    /// of this id. The id of the controller is `ID-controller`.
    pub(crate) fn options(&self, id: &str) -> Vec<(&'static str, OptionGroup)> {
        let device = self.device.clone();
        let Some(controller) = &self.controller else {
            return vec![("-device", device.set("chardev", id))];
        };
        let controller_id = format!("{id}-controller");
        let bus = format!("{controller_id}.0");
        vec![
            ("-device", controller.clone().set("id", controller_id)),
            ("-device", device.set("bus", bus).set("chardev", id)),
        ]
    }
}
