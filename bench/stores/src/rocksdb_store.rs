//! RocksDB: two column families that share one write-ahead log. A commit ends with fdatasync of it.
//!
//! With lists, an acknowledgement is a merge that appends the session to the message's value; the
//! last one removes the message. No key of its own, nothing to look up.

use crate::encoding::{count_remaining, put_message, put_varint, take_message, take_varint};
use crate::store::{
    Acknowledgement, Batch, Contents, Layout, Result, Store, number_of, recipient_key, session_of,
};
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, IteratorMode, MergeOperands,
    Options, WriteBatch, WriteOptions,
};
use std::path::Path;

const MESSAGES: &str = "messages";
const RECIPIENTS: &str = "recipients";

/// A database of two column families.
pub(crate) struct RocksdbStore {
    layout: Layout,
    database: DB,
    options: WriteOptions,
}

impl RocksdbStore {
    /// Opens the database.
    pub(crate) fn open(folder: &Path, layout: Layout) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let mut family = Options::default();
        family.set_compression_type(DBCompressionType::None);
        family.set_merge_operator_associative("append", append);
        let families =
            [MESSAGES, RECIPIENTS].map(|name| ColumnFamilyDescriptor::new(name, family.clone()));
        let database = DB::open_cf_descriptors(&options, folder, families)?;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(Self { layout, database, options })
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.database.cf_handle(name).expect("it was opened with its column families")
    }

    fn publish(&self, batch: &Batch, writes: &mut WriteBatch) {
        let messages = self.family(MESSAGES);
        let recipients = self.family(RECIPIENTS);
        let mut value = Vec::new();
        for publish in &batch.publishes {
            let key = publish.number.to_be_bytes();
            if self.layout == Layout::List {
                value.clear();
                put_message(&mut value, publish.message, publish.recipients);
                writes.put_cf(messages, key, &value);
                continue;
            }
            writes.put_cf(messages, key, publish.message);
            for &recipient in publish.recipients {
                writes.put_cf(recipients, recipient_key(recipient, publish.number), []);
            }
        }
    }

    fn acknowledge(&self, acknowledgements: &[Acknowledgement], writes: &mut WriteBatch) {
        let messages = self.family(MESSAGES);
        let recipients = self.family(RECIPIENTS);
        let mut value = Vec::new();
        for acknowledgement in acknowledgements {
            let number = acknowledgement.number;
            let session = acknowledgement.session;
            if self.layout == Layout::Keys {
                writes.delete_cf(recipients, recipient_key(session, number));
            }
            if acknowledgement.is_last {
                writes.delete_cf(messages, number.to_be_bytes());
            } else if self.layout == Layout::List {
                value.clear();
                put_varint(&mut value, u64::from(session));
                writes.merge_cf(messages, number.to_be_bytes(), &value);
            }
        }
    }

    fn load_lists(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        let mut recipients = Vec::new();
        let mut acknowledged = Vec::new();
        for item in self.database.iterator_cf(self.family(MESSAGES), IteratorMode::Start) {
            let (key, value) = item?;
            let mut rest = &value[..];
            let message = take_message(&mut rest, &mut recipients).ok_or("cut short")?;
            acknowledged.clear();
            while !rest.is_empty() {
                acknowledged.push(u32::try_from(take_varint(&mut rest).ok_or("cut short")?)?);
            }
            acknowledged.sort_unstable();
            count_remaining(&mut contents, number_of(&key)?, message, &recipients, &acknowledged);
        }
        Ok(contents)
    }

    fn load_keys(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        for item in self.database.iterator_cf(self.family(MESSAGES), IteratorMode::Start) {
            contents.add_message(&item?.1);
        }
        for item in self.database.iterator_cf(self.family(RECIPIENTS), IteratorMode::Start) {
            let key = item?.0;
            contents.add_recipient(number_of(&key[4..])?, session_of(&key[..4])?);
        }
        Ok(contents)
    }
}

impl Store for RocksdbStore {
    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let mut writes = WriteBatch::default();
        self.publish(batch, &mut writes);
        self.acknowledge(&batch.acknowledgements, &mut writes);
        Ok(self.database.write_opt(writes, &self.options)?)
    }

    fn load(&self) -> Result<Contents> {
        match self.layout {
            Layout::List => self.load_lists(),
            Layout::Keys => self.load_keys(),
        }
    }

    fn compact(&mut self) -> Result<()> {
        for name in [MESSAGES, RECIPIENTS] {
            self.database.flush_cf(self.family(name))?;
            self.database.compact_range_cf(self.family(name), None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    }
}

/// Appends the operands to the value.
fn append(_key: &[u8], value: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let mut appended = value.unwrap_or_default().to_vec();
    for operand in operands {
        appended.extend_from_slice(operand);
    }
    Some(appended)
}
