//! `ringmq passwd`: changes a password file.

use super::failure::Failure;
use super::refusal::refuse;
use crate::access::{HashMethod, Secret, hash_password};
use crate::base::operator_file;
use crate::limits::ACCESS_FILE_BYTES_MAX;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The longest password that MQTT can carry.
const PASSWORD_BYTES_MAX: u64 = 65_535;

/// Runs the command; `arguments` begin with its name, `passwd`.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error, "ringmq passwd", "FILE and USER are needed"),
    };
    match Request::new(&matches).and_then(|request| request.run(read_password)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

pub(super) fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("passwd")
        .bin_name("ringmq passwd")
        .about("Adds a user to a password file, changes a user's password, or deletes a user.")
        .max_term_width(100)
        .arg(
            Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(PathBuf)),
        )
        .arg(Arg::new("user").value_name("USER").required(true))
        .arg(flag("create").short('c').help("Make the file, which must not exist"))
        .arg(
            flag("delete")
                .short('D')
                .conflicts_with_all(["create", "batch", "hash"])
                .help("Delete the user"),
        )
        .arg(flag("batch").short('b').help("Read the password from the first line of the input"))
        .arg(
            Arg::new("hash")
                .long("hash")
                .short('H')
                .value_parser(PossibleValuesParser::new(["argon2id", "pbkdf2", "scram"]))
                .default_value("argon2id")
                .help(
                    "Hash with this method: argon2id resists guessing best, Mosquitto 2.0 reads \
                     pbkdf2, and SCRAM-SHA-256 needs scram",
                ),
        )
}

/// The user's command.
#[derive(Debug)]
struct Request {
    file: PathBuf,
    user: String,
    change: Change,
    is_batch: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Set { method: HashMethod, creates: bool },
    Delete,
}

impl Request {
    fn new(matches: &ArgMatches) -> Result<Self, Failure> {
        let user = matches.get_one::<String>("user").expect("is required").clone();
        check_name(&user)?;
        let method = match matches.get_one::<String>("hash").map(String::as_str) {
            Some("pbkdf2") => HashMethod::Pbkdf2,
            Some("scram") => HashMethod::Scram,
            _ => HashMethod::Argon2id,
        };
        let change = match matches.get_flag("delete") {
            true => Change::Delete,
            false => Change::Set { method, creates: matches.get_flag("create") },
        };
        let file = matches.get_one::<PathBuf>("file").expect("is required").clone();
        Ok(Self { file, user, change, is_batch: matches.get_flag("batch") })
    }

    fn run(&self, password: impl Fn(&Self) -> Result<Secret, Failure>) -> Result<(), Failure> {
        let (path, old) = self.open()?;
        let text = match &old {
            Some(file) => {
                operator_file::read_open(file, ACCESS_FILE_BYTES_MAX)
                    .map_err(|error| self.failed("read", &error))?
                    .bytes
            }
            None => Vec::new(),
        };
        let entry = match self.change {
            Change::Delete => None,
            Change::Set { method, .. } => {
                let password = password(self)?;
                check_password(&password, method)?;
                Some(format!("{}:{}", self.user, hash_password(method, password.bytes())))
            }
        };
        let edited = edit(&text, &self.user, entry.as_deref()).ok_or_else(|| {
            Failure::start(format!("{} has no user {:?}", self.file.display(), self.user))
        })?;
        replace(&path, old.as_ref(), &edited).map_err(|error| self.failed("write", &error))
    }

    /// Opens the file to replace; returns its path behind symbolic links, and the present file.
    fn open(&self) -> Result<(PathBuf, Option<File>), Failure> {
        let shown = self.file.display();
        let creates = matches!(self.change, Change::Set { creates: true, .. });
        match (fs::canonicalize(&self.file), creates) {
            (Ok(_), true) => Err(Failure::start(format!(
                "{shown} exists already: leave out --create to add to it, or remove it first"
            ))),
            (Ok(path), false) => {
                let file =
                    operator_file::open(&path).map_err(|error| self.failed("read", &error))?;
                Ok((path, Some(file)))
            }
            (Err(error), true) if error.kind() == io::ErrorKind::NotFound => {
                Ok((self.file.clone(), None))
            }
            (Err(error), false) if error.kind() == io::ErrorKind::NotFound => {
                Err(Failure::start(format!("{shown} does not exist: make it with --create")))
            }
            (Err(error), _) => Err(self.failed("read", &error)),
        }
    }

    fn failed(&self, what: &str, error: &dyn Display) -> Failure {
        Failure::start(format!("cannot {what} {}: {error}", self.file.display()))
    }
}

fn check_name(user: &str) -> Result<(), Failure> {
    let cause = match user {
        "" => "it is empty",
        _ if user.contains(':') => "a colon ends the name in the file",
        _ if user.contains(char::is_control) => "it has control characters",
        _ if user.starts_with('#') => "a line that begins with # is a comment",
        _ => return Ok(()),
    };
    Err(Failure::usage(format!("the user name {user:?} cannot be used: {cause}")))
}

fn check_password(password: &Secret, method: HashMethod) -> Result<(), Failure> {
    let bytes = password.bytes();
    let cause = match method {
        _ if bytes.is_empty() => "the password is empty",
        _ if bytes.len() as u64 > PASSWORD_BYTES_MAX => "the password has more than 65535 bytes",
        // Clients may prepare other letters in one way or another before they hash them.
        HashMethod::Scram if !bytes.is_ascii() => {
            "for SCRAM the password has to be ASCII: choose another one, or another --hash"
        }
        _ => return Ok(()),
    };
    Err(Failure::start(cause))
}

/// Reads the password: from the terminal, asked for twice, or from the standard input.
fn read_password(request: &Request) -> Result<Secret, Failure> {
    let failed = |error: io::Error| {
        Failure::start(format!("cannot read the password: {error}; see --batch"))
    };
    if request.is_batch {
        return first_line(io::stdin().lock()).map_err(failed);
    }
    let first = rpassword::prompt_password("Password: ").map_err(failed)?;
    let second = rpassword::prompt_password("The same again: ").map_err(failed)?;
    if first != second {
        return Err(Failure::start("the two passwords differ: nothing was changed"));
    }
    Ok(Secret::new(first.as_bytes()))
}

fn first_line(input: impl Read) -> io::Result<Secret> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells that there are too many; two end the line.
    input.take(PASSWORD_BYTES_MAX + 3).read_to_end(&mut bytes)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Secret::new(line.strip_suffix(b"\r").unwrap_or(line)))
}

/// The text with the user's entry set or removed; all other lines stay the same. None when the
/// entry to remove is missing.
fn edit(text: &[u8], user: &str, entry: Option<&str>) -> Option<Vec<u8>> {
    let mut edited = Vec::with_capacity(text.len() + 256);
    let mut entry_left = entry;
    let mut is_found = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let is_users =
            line.strip_prefix(user.as_bytes()).is_some_and(|rest| rest.starts_with(b":"));
        is_found |= is_users;
        match (is_users, entry_left.take_if(|_| is_users)) {
            (true, Some(entry)) => push_line(&mut edited, entry),
            (true, None) => {}
            (false, _) => edited.extend_from_slice(line),
        }
    }
    if let Some(entry) = entry_left {
        push_line(&mut edited, entry);
    }
    (is_found || entry.is_some()).then_some(edited)
}

fn push_line(text: &mut Vec<u8>, line: &str) {
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
}

/// Replaces the file's content by `bytes`. A reader gets either the old or the new content, also
/// after a crash.
fn replace(path: &Path, old: Option<&File>, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = folder.join(name);
    let written = write_new(&temporary, old, bytes).and_then(|()| match old {
        Some(_) => fs::rename(&temporary, path),
        // Somebody else may have made the file meanwhile.
        None => fs::hard_link(&temporary, path).and_then(|()| fs::remove_file(&temporary)),
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(folder)?.sync_all()
}

/// Writes the new file, which the broker has to be able to read like the old one: owner, group and
/// their permissions stay, and others have none.
fn write_new(path: &Path, old: Option<&File>, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some(old) = old {
        let (old, new) = (old.metadata()?, file.metadata()?);
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o660 | 0o600))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Policy, Sources};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("ringmq-passwd-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn path(&self) -> PathBuf {
            self.0.join("passwords")
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }

        /// Runs the command on this folder's file.
        fn run(&self, arguments: &[&str], password: &str) -> Result<(), String> {
            let path = self.path();
            let words =
                ["passwd", path.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
            let matches =
                command().try_get_matches_from(words).map_err(|error| error.to_string())?;
            let request = Request::new(&matches);
            let result =
                request.and_then(|request| request.run(|_| Ok(Secret::new(password.as_bytes()))));
            result.map_err(|failure| failure.line().to_owned())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn users_come_change_and_go() {
        let folder = Folder::new("life");
        folder.run(&["-c", "--hash", "scram", "ann"], "one").unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o600);
        assert!(folder.text().starts_with("ann:SCRAM-SHA-256$"));
        fs::write(folder.path(), format!("# ours\r\n\n{}# end", folder.text())).unwrap();
        folder.run(&["bob smith", "-H", "pbkdf2"], "two").unwrap();
        let before = folder.text();
        folder.run(&["ann"], "three").unwrap();
        let (old, new): (Vec<_>, Vec<_>) =
            (before.split('\n').collect(), folder.text().split('\n').map(str::to_owned).collect());
        assert_eq!(old.len(), new.len());
        assert_eq!((old[0], old[1], old[3], old[4]), (&*new[0], &*new[1], &*new[3], &*new[4]));
        assert!(new[2].starts_with("ann:$argon2id$v=19$m=47104,t=1,p=1$"), "{new:?}");
        let password_file = Some(folder.path());
        let load = || {
            Policy::load(&Sources { password_file: password_file.clone(), ..Sources::default() })
        };
        assert!(load().unwrap().warnings().is_empty());
        folder.run(&["-D", "ann"], "").unwrap();
        assert!(!folder.text().contains("ann") && folder.text().contains("bob smith:$7$210000$"));
        assert!(folder.run(&["-D", "ann"], "").unwrap_err().contains("has no user"));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn the_file_stays_whose_it_was() {
        let folder = Folder::new("owner");
        let real = folder.0.join("real");
        fs::write(&real, "").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&real, folder.path()).unwrap();
        let owner = fs::metadata(&real).unwrap();
        folder.run(&["ann", "--hash", "scram"], "x").unwrap();
        let now = fs::metadata(&real).unwrap();
        assert_eq!((now.uid(), now.gid()), (owner.uid(), owner.gid()));
        assert_eq!(now.mode() & 0o777, 0o640, "others may not read it any more");
        assert!(fs::symlink_metadata(folder.path()).unwrap().is_symlink());
    }

    #[test]
    fn what_cannot_be_is_refused_in_one_line() {
        let folder = Folder::new("wrong");
        let wrong: &[(&[&str], &str, &str)] = &[
            (&["ann"], "x", "--create"),
            (&["-D", "ann"], "x", "--create"),
            (&["-c", ""], "x", "empty"),
            (&["-c", "a:b"], "x", "colon"),
            (&["-c", "a\nb"], "x", "control"),
            (&["-c", "#a"], "x", "comment"),
            (&["-c", "ann"], "", "the password is empty"),
            (&["-c", "ann", "--hash", "scram"], "pässword", "ASCII"),
        ];
        for (arguments, password, cause) in wrong {
            let error = folder.run(arguments, password).unwrap_err();
            assert!(error.contains(cause) && !error.contains('\n'), "{error}");
        }
        for arguments in [&["-D", "-c", "ann"][..], &["--hash", "md5", "ann"], &[]] {
            assert!(folder.run(arguments, "x").is_err());
        }
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
        folder.run(&["-c", "ann", "--hash", "scram"], "x").unwrap();
        assert!(folder.run(&["-c", "bob"], "x").unwrap_err().contains("exists already"));
    }

    #[test]
    fn one_line_is_the_password() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"x\n", b"x"),
            (b"x\r\n", b"x"),
            (b" x ", b" x "),
            (b"x\ny\n", b"x"),
            (b"", b""),
            (b"\xff\n", b"\xff"),
        ];
        for (input, password) in cases {
            assert_eq!(first_line(input).unwrap().bytes(), password);
        }
        let long = first_line(&[b'x'; 70_000][..]).unwrap();
        assert!(check_password(&long, HashMethod::Argon2id).is_err());
        assert!(check_password(&Secret::new(&[b'x'; 65_535]), HashMethod::Argon2id).is_ok());
    }
}
