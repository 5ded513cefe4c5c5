//! Puts a hub's two devices behind vhost-user sockets.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tracing::debug;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{Backend, Listener};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringRwLock};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier};

use crate::hub::{Hub, Memory, Role};
use crate::{relay, virtio};

/// Why the devices could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up the guest's disk at {socket}: {reason}")]
pub struct ServeError {
    socket: String,
    reason: String,
}

/// One vhost-user-blk device.
struct Device {
    hub: Arc<Hub>,
    role: Role,
    /// The channel on which the device may call the guest. Unused, but User Mode Linux takes its closing for the
    /// end of the device (virtio_uml.c, `vu_req_read_message`), so it must live.
    channel: Mutex<Option<Backend>>,
}

impl VhostUserBackend for Device {
    type Bitmap = ();
    type Vring = VringRwLock<Memory>;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        256
    }

    fn features(&self) -> u64 {
        virtio::FEATURES | vhost::vhost_user::message::VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        // Without BACKEND_REQ, User Mode Linux asks for interrupt 0 and its probe fails.
        VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let config = virtio::config(self.hub.sectors(self.role));
        let start = (offset as usize).min(config.len());
        config[start..(start + size as usize).min(config.len())].to_vec()
    }

    /// The guest may ask for a write-through cache here (`wce = 0`); it has no reason to, and a guest whose
    /// agent does not say that its kernel took the cache for write-back is refused.
    fn set_config(&self, _offset: u32, _buffer: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        self.hub.set_memory(self.role, memory);
        Ok(())
    }

    fn set_backend_req_fd(&self, backend: Backend) {
        *self.channel.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(backend);
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    fn handle_event(&self, event: u16, _: EventSet, vrings: &[Self::Vring], _: usize) -> io::Result<()> {
        if event == 0 {
            self.hub.serve(self.role, &vrings[0]);
        }
        Ok(())
    }
}

/// The sockets that the machine is to be given, by their names in the directory that they are in. They go, with the threads
/// behind them, when this is dropped.
pub struct Sockets {
    /// vhost-user socket of the data disk.
    pub data: &'static str,
    /// vhost-user socket of the mailbox.
    pub mailbox: &'static str,
    devices: Vec<Served>,
}

struct Served {
    /// What to cut so that every thread ends.
    streams: Arc<Mutex<Vec<UnixStream>>>,
    entrance: PathBuf,
    relay: Option<JoinHandle<()>>,
    _daemon: VhostUserDaemon<Arc<Device>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        {
            let mut streams = self.streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for stream in streams.drain(..) {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        }
        // A machine that never came leaves the relay waiting for it: come in its place.
        let _ = UnixStream::connect(&self.entrance);
        if let Some(relay) = self.relay.take() {
            let _ = relay.join();
        }
        let _ = std::fs::remove_file(&self.entrance);
    }
}

/// Serves the devices of `hub` on sockets in `directory`, each to the one machine that connects.
pub fn serve(hub: &Arc<Hub>, directory: &Path) -> Result<Sockets, ServeError> {
    let (data, mailbox) = ("data.sock", "mailbox.sock");
    let serve = |role, name| serve_one(hub, role, &directory.join(name));
    let devices = vec![serve(Role::Data, data)?, serve(Role::Mailbox, mailbox)?];
    Ok(Sockets { data, mailbox, devices })
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets")
            .field("data", &self.data)
            .field("devices", &self.devices.len())
            .finish_non_exhaustive()
    }
}

fn serve_one(hub: &Arc<Hub>, role: Role, entrance: &Path) -> Result<Served, ServeError> {
    let fail = |reason: String| ServeError { socket: entrance.display().to_string(), reason };
    let inner = entrance.with_extension("inner");
    let device = Arc::new(Device { hub: hub.clone(), role, channel: Mutex::new(None) });
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let name = format!("disk-{role:?}").to_lowercase();
    let mut daemon = VhostUserDaemon::new(name, device, memory).map_err(|error| fail(error.to_string()))?;
    let mut listener = Listener::new(&inner, true).map_err(|error| fail(error.to_string()))?;
    // We are our device's only client: connected before it accepts, so accepting cannot block.
    let device_side = UnixStream::connect(&inner).map_err(|error| fail(error.to_string()))?;
    daemon.start(&mut listener).map_err(|error| fail(error.to_string()))?;
    drop(listener);
    let _ = std::fs::remove_file(&inner);

    let outer = UnixListener::bind(entrance).map_err(|error| fail(error.to_string()))?;
    let streams = Arc::new(Mutex::new(Vec::new()));
    let keep = |stream: &UnixStream| -> io::Result<()> {
        streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(stream.try_clone()?);
        Ok(())
    };
    keep(&device_side).map_err(|error| fail(error.to_string()))?;
    let relay = std::thread::Builder::new()
        .name("vhost-relay".into())
        .spawn({
            let streams = streams.clone();
            move || {
                let result = outer.accept().and_then(|(machine_side, _)| {
                    streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(machine_side.try_clone()?);
                    std::thread::scope(|scope| {
                        scope.spawn(|| relay::forward(&device_side, &machine_side));
                        let result = relay::forward(&machine_side, &device_side);
                        let _ = device_side.shutdown(std::net::Shutdown::Both);
                        let _ = machine_side.shutdown(std::net::Shutdown::Both);
                        result
                    })
                });
                if let Err(error) = result {
                    debug!("the control connection of a guest's disk ended: {error}");
                }
            }
        })
        .map_err(|error| fail(error.to_string()))?;
    Ok(Served { streams, entrance: entrance.to_path_buf(), relay: Some(relay), _daemon: daemon })
}
