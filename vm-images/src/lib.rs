//! Builds the guest agent and the initramfs it boots from.
