//! redb: two tables in one file. A commit writes the changed pages, then one fdatasync.
//!
//! With lists, an acknowledgement is a small key `message|session`; the last one removes the
//! message and the range of those keys.

use crate::encoding::{count_remaining, put_message, take_message};
use crate::store::{Acknowledgement, Batch, Contents, Layout, Result, Store};
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};
use std::path::Path;

const MESSAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("messages");
const ACKNOWLEDGED: TableDefinition<(u64, u32), ()> = TableDefinition::new("acknowledged");
const RECIPIENTS: TableDefinition<(u32, u64), ()> = TableDefinition::new("recipients");

/// A database of two tables.
#[derive(Debug)]
pub(crate) struct RedbStore {
    layout: Layout,
    database: Database,
}

impl RedbStore {
    /// Opens the file and makes its tables.
    pub(crate) fn open(folder: &Path, layout: Layout) -> Result<Self> {
        let database = Database::create(folder.join("redb"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(MESSAGES)?;
        match layout {
            Layout::List => drop(transaction.open_table(ACKNOWLEDGED)?),
            Layout::Keys => drop(transaction.open_table(RECIPIENTS)?),
        }
        transaction.commit()?;
        Ok(Self { layout, database })
    }

    fn load_lists(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        let mut recipients = Vec::new();
        let mut acknowledged = Vec::new();
        let transaction = self.database.begin_read()?;
        let keys = transaction.open_table(ACKNOWLEDGED)?;
        let mut keys = keys.iter()?;
        let mut next_key = keys.next().transpose()?.map(|(key, _)| key.value());
        for item in transaction.open_table(MESSAGES)?.iter()? {
            let (key, value) = item?;
            acknowledged.clear();
            while let Some((_, session)) = next_key.take_if(|next| next.0 == key.value()) {
                acknowledged.push(session);
                next_key = keys.next().transpose()?.map(|(key, _)| key.value());
            }
            let message = take_message(&mut value.value(), &mut recipients).ok_or("cut short")?;
            count_remaining(&mut contents, key.value(), message, &recipients, &acknowledged);
        }
        Ok(contents)
    }

    fn load_keys(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        let transaction = self.database.begin_read()?;
        for item in transaction.open_table(MESSAGES)?.iter()? {
            contents.add_message(item?.1.value());
        }
        for item in transaction.open_table(RECIPIENTS)?.iter()? {
            let (session, number) = item?.0.value();
            contents.add_recipient(number, session);
        }
        Ok(contents)
    }
}

impl Store for RedbStore {
    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        match self.layout {
            Layout::List => write_lists(&transaction, batch)?,
            Layout::Keys => write_keys(&transaction, batch)?,
        }
        Ok(transaction.commit()?)
    }

    fn load(&self) -> Result<Contents> {
        match self.layout {
            Layout::List => self.load_lists(),
            Layout::Keys => self.load_keys(),
        }
    }

    fn compact(&mut self) -> Result<()> {
        self.database.compact()?;
        Ok(())
    }
}

fn write_lists(transaction: &WriteTransaction, batch: &Batch) -> Result<()> {
    let mut messages = transaction.open_table(MESSAGES)?;
    let mut value = Vec::new();
    for publish in &batch.publishes {
        value.clear();
        put_message(&mut value, publish.message, publish.recipients);
        messages.insert(publish.number, &value[..])?;
    }
    if !batch.acknowledgements.is_empty() {
        let mut keys = transaction.open_table(ACKNOWLEDGED)?;
        for acknowledgement in &batch.acknowledgements {
            acknowledge_in_list(acknowledgement, &mut messages, &mut keys)?;
        }
    }
    Ok(())
}

fn acknowledge_in_list(
    acknowledgement: &Acknowledgement,
    messages: &mut Table<u64, &[u8]>,
    keys: &mut Table<(u64, u32), ()>,
) -> Result<()> {
    let number = acknowledgement.number;
    if acknowledgement.is_last {
        messages.remove(number)?;
        keys.retain_in((number, 0)..=(number, u32::MAX), |_, ()| false)?;
    } else {
        keys.insert((number, acknowledgement.session), ())?;
    }
    Ok(())
}

fn write_keys(transaction: &WriteTransaction, batch: &Batch) -> Result<()> {
    let mut messages = transaction.open_table(MESSAGES)?;
    let mut keys = transaction.open_table(RECIPIENTS)?;
    for publish in &batch.publishes {
        messages.insert(publish.number, publish.message)?;
        for &recipient in publish.recipients {
            keys.insert((recipient, publish.number), ())?;
        }
    }
    for acknowledgement in &batch.acknowledgements {
        keys.remove((acknowledgement.session, acknowledgement.number))?;
        if acknowledgement.is_last {
            messages.remove(acknowledgement.number)?;
        }
    }
    Ok(())
}
