//! A broker that root starts: whom it becomes, and what it keeps and leaves.
//!
//! Whoever is not root sees that the user stays who they are.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use support::folder::Folder;
use support::server::Server;

const NOBODY: u32 = 65_534;

fn owner(path: impl AsRef<Path>) -> u32 {
    std::fs::metadata(path).unwrap().uid()
}

fn is_root() -> bool {
    owner("/proc/self") == 0
}

/// A folder that every user may look into.
fn open_folder() -> Folder {
    let folder = Folder::new();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn root_is_given_up_once_ports_and_keys_are_open() {
    let folder = open_folder();
    let passwords = support::passwords(&folder, &["alice"], "secret");
    std::fs::set_permissions(&passwords, PermissionsExt::from_mode(0o600)).unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let pid_file = folder.path().join("ringmq.pid");
    let socket = folder.path().join("mqtt.sock");
    let us = if is_root() { NOBODY } else { owner("/proc/self") };
    std::os::unix::fs::chown(&data, Some(us), None).unwrap();
    let text = format!(
        "listen = [\"mqtt://127.0.0.1:0\", \"unix:{}\"]\nuser = \"nobody\"\n\
         pid-file = {pid_file:?}\ndata-dir = {data:?}\npassword-file = {passwords:?}\n",
        socket.display()
    );
    let file = folder.write("ringmq.toml", text);
    let mut server = Server::start(&["--config", file.to_str().unwrap()]);
    assert_eq!(owner(format!("/proc/{}", server.pid())), us);
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    for thread in threads {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
        assert!(uids.split_whitespace().all(|uid| uid == us.to_string()), "{uids}");
    }
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap().trim(), server.pid().to_string());
    assert_eq!((owner(&socket), owner(data.join("lock"))), (us, us));
    if is_root() {
        server.logs("for the user that the broker is now");
        assert!(!server.reload(), "the passwords are root's");
        std::fs::set_permissions(&passwords, PermissionsExt::from_mode(0o644)).unwrap();
    }
    assert!(server.reload());
    server.signal(libc::SIGTERM);
    assert_eq!(server.ends(), Some(Some(0)));
    assert!(is_root() || !pid_file.exists(), "its folder is writable");
}

#[test]
fn the_number_of_the_process_is_where_mosquittos_was_and_goes_with_it() {
    let folder = open_folder();
    let pid_file = folder.path().join("m.pid");
    let victim = folder.write("victim", "kept");
    let flags = ["--listen", "mqtt://127.0.0.1:0", "--pid-file", pid_file.to_str().unwrap()];
    let mut server = Server::start(&flags);
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), format!("{}\n", server.pid()));
    server.signal(libc::SIGTERM);
    assert_eq!(server.ends(), Some(Some(0)));
    assert!(!pid_file.exists());
    std::os::unix::fs::symlink(&victim, &pid_file).unwrap();
    let (status, output) = support::server::run(support::ringmq().args(flags));
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("cannot write --pid-file"), "{output}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
}

#[test]
fn a_user_that_is_not_there_is_named_with_the_way_to_make_it() {
    if !is_root() {
        return;
    }
    let flags = ["--listen", "mqtt://127.0.0.1:0", "--user", "no-such-user"];
    let (status, output) = support::server::run(support::ringmq().args(flags));
    assert_eq!(status, Some(2), "{output}");
    assert!(output.contains("useradd --system no-such-user"), "{output}");
}
