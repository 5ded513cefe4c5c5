//! Guests: QEMU and User Mode Linux behind one trait.
