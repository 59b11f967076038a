//! What a package has besides the program, from the one table of options.
//!
//! ```sh
//! cargo run --example words -- target/words               # man pages and completions of shells
//! cargo run --example words -- --options > docs/OPTIONS.md
//! ```

use clap_complete::Shell;
use ringmq::server::words;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1) else {
        return Err(io::Error::other("give a folder, or --options"));
    };
    if folder == "--options" {
        print!("{}", words::options());
        return Ok(());
    }
    let folder = PathBuf::from(folder);
    let (pages, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(words::command(), &pages)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut words::command(), "ringmq", &completions)?;
    }
    Ok(())
}
