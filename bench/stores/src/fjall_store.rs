//! fjall: two trees that share one journal. A commit ends with fdatasync of the journal.
//!
//! With lists, an acknowledgement is a small key `message|session`; the last one removes the
//! message and those keys, which are found through the message's own list. fjall has neither merges
//! nor the removal of a range.

use crate::encoding::{count_remaining, put_message, take_message};
use crate::store::{
    Acknowledgement, Batch, Contents, Layout, Result, Store, acknowledgement_key, number_of,
    recipient_key, session_of,
};
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode,
};
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::path::Path;

/// A database of two trees.
pub(crate) struct FjallStore {
    layout: Layout,
    database: Database,
    messages: Keyspace,
    /// Acknowledgements of lists, or recipients.
    keys: Keyspace,
}

impl FjallStore {
    /// Opens the database.
    pub(crate) fn open(folder: &Path, layout: Layout) -> Result<Self> {
        let database = Database::builder(folder).open()?;
        let messages = database.keyspace("messages", KeyspaceCreateOptions::default)?;
        let keys = database.keyspace("keys", KeyspaceCreateOptions::default)?;
        Ok(Self { layout, database, messages, keys })
    }

    fn publish(&self, batch: &Batch, writes: &mut WriteBatch) {
        for publish in &batch.publishes {
            let key = publish.number.to_be_bytes();
            if self.layout == Layout::List {
                let mut value =
                    Vec::with_capacity(publish.message.len() + publish.recipients.len());
                put_message(&mut value, publish.message, publish.recipients);
                writes.insert(&self.messages, key, value);
                continue;
            }
            writes.insert(&self.messages, key, publish.message);
            for &recipient in publish.recipients {
                writes.insert(&self.keys, recipient_key(recipient, publish.number), []);
            }
        }
    }

    fn acknowledge_in_lists(
        &self,
        acknowledgements: &[Acknowledgement],
        writes: &mut WriteBatch,
    ) -> Result<()> {
        let mut finished = HashSet::with_hasher(FixedState::default());
        let mut recipients = Vec::new();
        for acknowledgement in acknowledgements.iter().filter(|each| each.is_last) {
            let number = acknowledgement.number;
            finished.insert(number);
            let value = self.messages.get(number.to_be_bytes())?.ok_or("a message is missing")?;
            take_message(&mut &value[..], &mut recipients).ok_or("a message is cut short")?;
            writes.remove(&self.messages, number.to_be_bytes());
            for &recipient in recipients.iter().filter(|each| **each != acknowledgement.session) {
                writes.remove(&self.keys, acknowledgement_key(number, recipient));
            }
        }
        // One batch has one sequence number: it must not write a key and remove it.
        for acknowledgement in acknowledgements {
            if !finished.contains(&acknowledgement.number) {
                let key = acknowledgement_key(acknowledgement.number, acknowledgement.session);
                writes.insert(&self.keys, key, []);
            }
        }
        Ok(())
    }

    fn acknowledge_keys(&self, acknowledgements: &[Acknowledgement], writes: &mut WriteBatch) {
        for acknowledgement in acknowledgements {
            let number = acknowledgement.number;
            writes.remove(&self.keys, recipient_key(acknowledgement.session, number));
            if acknowledgement.is_last {
                writes.remove(&self.messages, number.to_be_bytes());
            }
        }
    }

    fn load_lists(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        let mut recipients = Vec::new();
        let mut acknowledged = Vec::new();
        let mut keys = self.keys.iter().map(|item| item.key());
        let mut next_key = keys.next().transpose()?;
        for item in self.messages.iter() {
            let (key, value) = item.into_inner()?;
            let number = number_of(&key)?;
            acknowledged.clear();
            while let Some(key) = next_key.take_if(|next| next[..8] == key[..]) {
                acknowledged.push(session_of(&key[8..])?);
                next_key = keys.next().transpose()?;
            }
            let message = take_message(&mut &value[..], &mut recipients).ok_or("cut short")?;
            count_remaining(&mut contents, number, message, &recipients, &acknowledged);
        }
        Ok(contents)
    }

    fn load_keys(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        for item in self.messages.iter() {
            contents.add_message(&item.value()?);
        }
        for item in self.keys.iter() {
            let key = item.key()?;
            contents.add_recipient(number_of(&key[4..])?, session_of(&key[..4])?);
        }
        Ok(contents)
    }
}

impl Store for FjallStore {
    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let mut writes = self.database.batch().durability(Some(PersistMode::SyncData));
        self.publish(batch, &mut writes);
        match self.layout {
            Layout::List => self.acknowledge_in_lists(&batch.acknowledgements, &mut writes)?,
            Layout::Keys => self.acknowledge_keys(&batch.acknowledgements, &mut writes),
        }
        Ok(writes.commit()?)
    }

    fn load(&self) -> Result<Contents> {
        match self.layout {
            Layout::List => self.load_lists(),
            Layout::Keys => self.load_keys(),
        }
    }

    fn compact(&mut self) -> Result<()> {
        for tree in [&self.messages, &self.keys] {
            tree.rotate_memtable_and_wait()?;
            tree.major_compact()?;
        }
        Ok(())
    }
}
