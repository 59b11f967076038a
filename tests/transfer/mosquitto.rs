//! A Mosquitto of the test's own that keeps its database.

use crate::support::folder::Folder;
use crate::support::server::{Program, eventually};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub struct Mosquitto {
    program: Program,
    pub port: u16,
}

/// Where it keeps its database.
pub fn database_in(folder: &Folder) -> PathBuf {
    folder.path().join("mosquitto.db")
}

impl Mosquitto {
    /// Starts one on the database in a folder, if there is one.
    pub fn start(folder: &Folder) -> Self {
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
        let program = program.into_iter().find(|path| std::path::Path::new(path).exists());
        let program = program.expect("mosquitto: run scripts/install-test-tools.sh");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = folder.write("mosquitto.conf", Self::configuration(folder, port));
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let program = Program::start(&mut command);
        assert!(eventually(|| TcpStream::connect(("127.0.0.1", port)).is_ok()));
        Self { program, port }
    }

    /// What its file says, which ringmq reads as well.
    pub fn configuration(folder: &Folder, port: u16) -> String {
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n\
             persistence_location {}/\n",
            folder.path().display()
        )
    }

    /// Stops it, so that it writes its database.
    pub fn stop(mut self) {
        let child = self.program.child();
        // SAFETY: the process is this test's own child and not yet waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        assert!(eventually(|| !matches!(child.try_wait(), Ok(None))));
    }
}
