//! The guest's disk: block log, volatile-cache model, vhost-user-blk device.
