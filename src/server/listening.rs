//! The listening sockets: one per address and worker, or one for all workers in the file system and
//! from the service manager.

use super::failure::Failure;
use crate::io::passed::Passed;
use crate::io::socket::{Listener, check_free};
use crate::options::{AdminSocket, Endpoint, Given, ListenerOptions, Options};
use rustix::fs::Mode;
use std::fs::DirBuilder;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The number of tries to find an address free.
const FREE_TRIES: u32 = 20;
/// The time between two tries.
const FREE_INTERVAL: Duration = Duration::from_millis(25);

/// The sockets of all workers.
#[derive(Debug)]
pub(super) struct Listening {
    /// For each worker its listeners, in the order of the options.
    pub(super) sockets: Vec<Vec<Listener>>,
    /// The sockets in the file system, removed at the end.
    pub(super) files: Vec<OwnFile>,
}

/// A file or socket of this process, removed when the value is dropped.
#[derive(Debug)]
pub(super) struct OwnFile {
    path: PathBuf,
    /// The device and inode: another program may have replaced the file since.
    file: (u64, u64),
}

impl OwnFile {
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: file_at(path)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if file_at(&self.path).is_ok_and(|file| file == self.file) {
            // Whoever has removed it already has saved the work.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The device and inode of the file at `path`.
fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Listens for every worker on every endpoint, and writes the real ports into the options. A
/// listener whose place the service manager has opened takes that socket.
pub(super) fn listen(
    listeners: &mut [ListenerOptions],
    workers: usize,
    keep_alive: Option<Duration>,
    mut passed: Vec<Passed>,
) -> Result<Listening, Failure> {
    check_distinct(listeners)?;
    let sockets = (0..workers).map(|_| Vec::new()).collect();
    let mut listening = Listening { sockets, files: Vec::new() };
    for listener in listeners {
        let own = passed.iter().position(|socket| is_at(socket, &listener.endpoint));
        let own = own.map(|index| passed.remove(index));
        let listened = match (own, &mut listener.endpoint) {
            (Some(socket), _) => {
                tracing::info!(name = socket.name(), "{listener} is the service manager's socket");
                let taken = socket.listen(keep_alive);
                taken.and_then(|taken| share(&taken, &mut listening.sockets))
            }
            (None, Endpoint::Tcp(address)) => {
                listen_on(address, &mut listening.sockets, keep_alive)
            }
            (None, Endpoint::Unix(path)) => listen_at(path, &mut listening),
        };
        listened.map_err(|error| refused(listener, &error))?;
    }
    passed.iter().for_each(warn_of);
    Ok(listening)
}

fn is_at(socket: &Passed, endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp(address) => socket.address() == Some(*address),
        Endpoint::Unix(path) => socket.path().as_ref() == Some(path),
    }
}

/// Tells of a socket that no listener takes. It is closed here; the service manager has it still,
/// so that its clients would wait for ever.
fn warn_of(socket: &Passed) {
    let path = || socket.path().map(|path| format!("unix:{}", path.display()));
    let place = socket.address().map(|address| address.to_string()).or_else(path);
    let place = place.unwrap_or_else(|| "which is no listening socket".to_owned());
    tracing::warn!(
        name = socket.name(),
        "No listener takes the service manager's socket {place}: name the same place in --listen \
         and in ListenStream="
    );
}

/// Listens for HTTP, and writes the real port into the address.
pub(super) fn listen_for_http(address: &mut SocketAddr) -> Result<TcpListener, Failure> {
    let listen = |address: &mut SocketAddr| {
        let listener = TcpListener::bind(*address)?;
        listener.set_nonblocking(true)?;
        *address = listener.local_addr()?;
        Ok(listener)
    };
    listen(address).map_err(|error: io::Error| {
        Failure::start(format!("cannot listen for HTTP on {address}: {error}"))
    })
}

/// The places that answer the operator.
#[derive(Debug)]
pub(super) struct AdminListening {
    pub(super) tcp: Option<TcpListener>,
    pub(super) unix: Option<(UnixListener, OwnFile)>,
}

/// Listens for the operator, and writes the real places into the options. A place that nobody asked
/// for may be taken, by another broker on this machine: then the log says so, and that is all.
pub(super) fn listen_for_admin(
    options: &mut Options,
    given: &Given,
) -> Result<AdminListening, Failure> {
    let mut tcp = None;
    if let Some(address) = &mut options.admin_listen {
        match listen_for_http(address) {
            Ok(listener) => tcp = Some(listener),
            Err(failure) if given.has("admin-listen") => return Err(failure),
            Err(failure) => {
                tracing::warn!("{failure}; --admin-listen gives the operator another one, or none");
                options.admin_listen = None;
            }
        }
    }
    let (path, is_own) = match &options.admin_socket {
        AdminSocket::None => (None, false),
        AdminSocket::Auto => (runtime_folder().map(|folder| folder.join(ADMIN_SOCKET)), false),
        AdminSocket::At(path) => (Some(path.clone()), true),
    };
    let mut unix = None;
    options.admin_socket = AdminSocket::None;
    if let Some(path) = path {
        match listen_for_owner(&path) {
            Ok(listening) => {
                options.admin_socket = AdminSocket::At(path);
                unix = Some(listening);
            }
            Err(error) => {
                let place = path.display();
                let text = match error.raw_os_error() {
                    Some(libc::EADDRINUSE) => "another broker or program uses it".to_owned(),
                    _ => error.to_string(),
                };
                let text = format!("cannot listen for the operator at {place}: {text}");
                if is_own {
                    return Err(Failure::start(text));
                }
                tracing::warn!("{text}; --admin-socket gives the operator another one, or none");
            }
        }
    }
    Ok(AdminListening { tcp, unix })
}

/// The name of the socket in the runtime folder.
pub(super) const ADMIN_SOCKET: &str = "admin.sock";

/// The folder of this user's running programs, made if it is not there yet: what systemd gives the
/// service, `/run/ringmq` for root, or a folder of the user's own.
fn runtime_folder() -> Option<PathBuf> {
    runtime_folders().into_iter().find(|folder| {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(folder);
        // In a folder that all may write to, somebody else may have been here first.
        let owner = std::fs::symlink_metadata(folder).map(|it| (it.is_dir(), it.uid()));
        made.is_ok()
            && owner.is_ok_and(|owner| owner == (true, rustix::process::geteuid().as_raw()))
    })
}

/// The runtime folders in which a broker of this user may have its socket, the likeliest first.
pub(super) fn runtime_folders() -> Vec<PathBuf> {
    let variable = |name, below: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(|value| PathBuf::from(value).join(below))
    };
    let user = rustix::process::geteuid();
    let mut folders = Vec::new();
    folders.extend(variable("RUNTIME_DIRECTORY", ""));
    if user.is_root() {
        folders.push("/run/ringmq".into());
    }
    folders.extend(variable("XDG_RUNTIME_DIR", "ringmq"));
    folders.push(format!("/tmp/ringmq-{}", user.as_raw()).into());
    folders
}

/// Listens at a path for this user alone.
fn listen_for_owner(path: &Path) -> io::Result<(UnixListener, OwnFile)> {
    remove_left_over(path)?;
    // Between the socket's making and a change of its mode others could connect.
    let before = rustix::process::umask(Mode::XUSR | Mode::RWXG | Mode::RWXO);
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok((listener, OwnFile::new(path)?))
}

/// Refuses two listeners at the same place.
pub(super) fn check_distinct(listeners: &[ListenerOptions]) -> Result<(), Failure> {
    for (index, listener) in listeners.iter().enumerate() {
        let endpoint = &listener.endpoint;
        let is_free = matches!(endpoint, Endpoint::Tcp(address) if address.port() == 0);
        if !is_free && listeners[..index].iter().any(|other| other.endpoint == *endpoint) {
            return Err(Failure::usage(format!("--listen: {listener} is given twice")));
        }
    }
    Ok(())
}

/// Listens on the address for every worker; the first listener finds out the port.
fn listen_on(
    address: &mut SocketAddr,
    sockets: &mut [Vec<Listener>],
    keep_alive: Option<Duration>,
) -> io::Result<()> {
    wait_until_free(*address)?;
    for worker in sockets {
        let listener = Listener::bind(*address, keep_alive)?;
        *address = listener.address().unwrap_or(*address);
        worker.push(listener);
    }
    Ok(())
}

/// Waits until an address is free. The kernel frees the sockets of a killed process only a moment
/// after the process has gone, so a broker that is started again at once has to wait.
fn wait_until_free(address: SocketAddr) -> io::Result<()> {
    for _ in 0..FREE_TRIES {
        match check_free(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                std::thread::sleep(FREE_INTERVAL);
            }
            result => return result,
        }
    }
    check_free(address)
}

/// Listens at a path, with one socket for all workers, for its owner and group.
fn listen_at(path: &Path, listening: &mut Listening) -> io::Result<()> {
    remove_left_over(path)?;
    let listener = Listener::bind_unix(path)?;
    listening.files.push(OwnFile::new(path)?);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    share(&listener, &mut listening.sockets)
}

/// Gives every worker the same socket.
fn share(listener: &Listener, sockets: &mut [Vec<Listener>]) -> io::Result<()> {
    for worker in sockets {
        worker.push(listener.share()?);
    }
    Ok(())
}

/// Removes the socket of a process that ended without removing it, and no other file.
fn remove_left_over(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    match metadata.file_type().is_socket() && Listener::is_deserted(path)? {
        true => std::fs::remove_file(path),
        false => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}

fn refused(listener: &ListenerOptions, error: &io::Error) -> Failure {
    let is_file = matches!(listener.endpoint, Endpoint::Unix(_));
    let cause = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) if is_file => {
            "this user may not use that path; choose another one, or another user".to_owned()
        }
        Some(libc::EADDRINUSE) => {
            "another program listens there; stop it or choose another --listen".to_owned()
        }
        Some(libc::EADDRNOTAVAIL) => {
            "no network interface has this address; see ip address, or use 0.0.0.0".to_owned()
        }
        Some(libc::EACCES | libc::EPERM) => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE; choose another --listen"
                .to_owned()
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "no descriptor is left; raise the limit (ulimit -n, LimitNOFILE=)".to_owned()
        }
        _ => error.to_string(),
    };
    Failure::start(format!("cannot listen on {listener}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use socket2::{Domain, SockAddr, Socket, Type};

    fn any_port() -> ListenerOptions {
        let mut listener = Options::default().listeners.remove(0);
        listener.endpoint = Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        listener
    }

    fn at(path: &Path) -> ListenerOptions {
        ListenerOptions { endpoint: Endpoint::Unix(path.to_owned()), ..any_port() }
    }

    #[test]
    fn all_workers_share_the_port_that_the_first_one_got() {
        let mut options = [any_port(), any_port()];
        let listening = listen(&mut options, 3, None, Vec::new()).unwrap();
        assert_ne!(options[0].endpoint, options[1].endpoint);
        for worker in &listening.sockets {
            for (socket, listener) in worker.iter().zip(&options) {
                assert_eq!(listener.endpoint, Endpoint::Tcp(socket.address().unwrap()));
            }
        }
    }

    #[test]
    fn a_second_broker_does_not_share_the_address() {
        let mut bound = [any_port()];
        let _listening = listen(&mut bound, 1, None, Vec::new()).unwrap();
        let failure = listen(&mut bound, 1, None, Vec::new()).unwrap_err();
        assert!(failure.line().contains("another program listens there"), "{}", failure.line());
        let failure =
            listen(&mut [bound[0].clone(), bound[0].clone()], 1, None, Vec::new()).unwrap_err();
        assert!(failure.line().contains("given twice"), "{}", failure.line());
    }

    #[test]
    fn a_socket_file_that_was_left_over_is_replaced_and_another_file_is_not() {
        let folder = std::env::temp_dir().join(format!("ringmq-listening-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listening = listen(&mut [at(&path)], 2, None, Vec::new()).unwrap();
        assert!(listen(&mut [at(&path)], 1, None, Vec::new()).is_err(), "somebody listens there");
        drop(listening);
        assert!(!path.exists(), "it is removed at the end");
        std::fs::write(&path, "precious").unwrap();
        assert!(listen(&mut [at(&path)], 1, None, Vec::new()).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_successors_socket_file_stays_and_one_that_is_busy_is_nobodys_left_over() {
        let folder = std::env::temp_dir().join(format!("ringmq-successor-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.sock");
        let first = listen(&mut [at(&path)], 1, None, Vec::new()).unwrap();
        std::fs::remove_file(&path).unwrap();
        // Whoever listens there now accepts nobody, and no more can wait.
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        drop(first);
        assert!(path.exists(), "it is not the first one's");
        let wait = || {
            let waiting = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
            waiting.connect(&SockAddr::unix(&path).unwrap()).map(|()| waiting)
        };
        let waiting: Vec<Socket> = std::iter::from_fn(|| wait().ok()).take(100).collect();
        assert!(waiting.len() < 100, "it is full");
        let failure = listen(&mut [at(&path)], 1, None, Vec::new()).unwrap_err();
        assert!(failure.line().contains("another program listens there"), "{}", failure.line());
        assert!(path.exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
