//! The import of Mosquitto's database at the first start with a file of Mosquitto's.

use super::failure::Failure;
use crate::base::operator_file::{self, Unreadable};
use crate::base::{causes, random};
use crate::broker::TOLD;
use crate::journal::{self, Directory};
use crate::options::Options;
use crate::store::Reading;
use crate::transfer::{self, ImportError, Imported, Terms};
use std::io::{BufReader, ErrorKind};
use std::path::Path;

/// Imports the database that the configuration names into `directory`, if there is one and the
/// directory has no data yet. The database is left as it is.
///
/// # Errors
/// One line with the cause and the fix: a start without the data would be taken for their loss.
pub(super) fn adopt(
    directory: &Directory,
    database: &Path,
    options: &Options,
    now: Reading,
) -> Result<(), Failure> {
    let (shown, folder) = (database.display(), directory.path().display());
    tracing::info!("Data is kept in {folder}; Mosquitto's own file would be {shown}");
    if !directory.segments().map_err(Failure::start)?.is_empty() {
        return Ok(());
    }
    let input = match operator_file::open(database) {
        Ok(input) => BufReader::new(input),
        Err(Unreadable::Io(error)) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refuse(database, &error.to_string(), directory)),
    };
    let expiry_max_s = (options.expiry_max_s(true), options.expiry_max_s(false));
    let terms = Terms { now, expiry_max_s, accepts_damage: false };
    match transfer::import(input, &terms) {
        Ok(Imported { state, counts, .. }) => {
            journal::place(directory, &state, random::number()).map_err(Failure::start)?;
            tracing::info!(target: TOLD, "Imported {shown}: {counts}");
            Ok(())
        }
        // Mosquitto starts without data as well then.
        Err(ImportError::Empty) => {
            tracing::warn!("{shown} is empty: nothing is imported");
            Ok(())
        }
        Err(error) => Err(refuse(database, &causes::line(&error), directory)),
    }
}

fn refuse(database: &Path, cause: &str, directory: &Directory) -> Failure {
    let (shown, folder) = (database.display(), directory.path().display());
    Failure::start(format!(
        "{shown}: {cause}; `ringmq import --accept-damage {shown} {folder}` takes what stands \
         before a damage, and without the file ringmq starts with no data"
    ))
}
