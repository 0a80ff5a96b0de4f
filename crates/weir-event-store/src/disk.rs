//! The events on the disk: one SQLite database, and all SQL there is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, Transaction, params};

use crate::event::{Cause, Entry, QueueNo};
use crate::index::Index;
use crate::memory::Body;
use crate::store::OpenError;
use crate::todo::{Move, Note, Removal};

/// What the layout of the database is called; a later release that changes it counts on.
const LAYOUT: i64 = 1;

/// Pages of the write-ahead log from which on a commit brings it into the database: 64 MiB.
const WAL_PAGES: u32 = 16_000;

/// Unused pages that are kept for new events, and what is returned to the file system at a time.
const SPARE_PAGES: i64 = 2_048;
const VACUUM_PAGES: i64 = 500;

/// `head` is narrow and has one column besides the id ([`head`]), because it is read whole at the start;
/// `note` is for the few events that were handed out in vain or are dead letters.
const TABLES: &str = "
    CREATE TABLE tenant (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE head (id INTEGER PRIMARY KEY, head BLOB NOT NULL);
    CREATE TABLE body (id INTEGER PRIMARY KEY, device TEXT NOT NULL, bytes BLOB NOT NULL);
    CREATE TABLE note (id INTEGER PRIMARY KEY, attempts INTEGER NOT NULL, cause INTEGER NOT NULL);
";

/// What one transaction does, in this order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) tenants: Vec<(u32, Arc<str>)>,
    pub(crate) appends: Vec<(QueueNo, Entry, Body)>,
    pub(crate) attempts: Vec<(i64, Note)>,
    pub(crate) removals: Vec<Removal>,
    pub(crate) moves: Vec<Move>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.settlements() == 0
    }

    /// What it does besides adding events.
    pub(crate) fn settlements(&self) -> usize {
        self.attempts.len() + self.removals.len() + self.moves.len()
    }
}

/// The connection that writes. There is one.
#[derive(Debug)]
pub(crate) struct Disk(Connection);

/// A connection that reads messages.
#[derive(Debug)]
pub(crate) struct Bodies(Connection);

/// Whether it is for lack of space that something was not written.
pub(crate) fn is_full(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether it is what was to be read that cannot be, and will never be.
pub(crate) fn is_damage(error: &Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => code == ErrorCode::DatabaseCorrupt,
        // It can be read, and is not what it should be.
        None => true,
    }
}

impl Disk {
    /// Opens the database, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        // These two say how the file is made and are ignored once the log is on.
        connection.pragma_update(None, "page_size", 4096)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", mode)?;
        if mode != "wal" {
            return Err(OpenError::NoLog(mode));
        }
        // What is committed is synced: an acknowledgement follows.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", i64::from(WAL_PAGES) * 4096)?;
        connection.pragma_update(None, "cache_size", -16_384)?;
        let mut disk = Self(connection);
        disk.make_tables()?;
        Ok(disk)
    }

    fn make_tables(&mut self) -> Result<(), OpenError> {
        let layout = self.number("user_version")?;
        if layout == LAYOUT {
            return Ok(());
        }
        if layout != 0 {
            return Err(OpenError::Newer(layout));
        }
        let tx = self.0.transaction()?;
        tx.execute_batch(TABLES)?;
        tx.pragma_update(None, "user_version", LAYOUT)?;
        Ok(tx.commit()?)
    }

    fn number(&self, pragma: &str) -> Result<i64, Error> {
        self.0.pragma_query_value(None, pragma, |row| row.get(0))
    }

    /// Fills an empty index. Returns the greatest id in use.
    pub(crate) fn restore(&self, index: &mut Index) -> Result<i64, OpenError> {
        let mut tenants = self.0.prepare("SELECT number, name FROM tenant")?;
        let mut rows = tenants.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            index.restore_tenant(row.get(0)?, name.into());
        }
        let mut notes = self.0.prepare("SELECT id, attempts, cause FROM note")?;
        let mut rows = notes.query([])?;
        while let Some(row) = rows.next()? {
            index.restore_note(row.get(0)?, row.get(1)?, Cause::from_code(row.get(2)?));
        }
        let last = self.restore_events(index)?;
        match self.forget(&index.empty_tenants()) {
            Ok(()) => index.forget_empty_tenants(),
            // A full disk is no reason not to open.
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(last)
    }

    fn restore_events(&self, index: &mut Index) -> Result<i64, OpenError> {
        let mut heads = self.0.prepare("SELECT id, head FROM head ORDER BY id")?;
        let mut rows = heads.query([])?;
        let mut last = 0;
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            let head = row.get_ref(1)?.as_blob().ok();
            let head = head.and_then(|head| head.try_into().ok());
            let (queue, entry) = head::unpack(last, head.ok_or(OpenError::Damaged(last))?);
            if !index.restore(queue, entry) {
                return Err(OpenError::Damaged(last));
            }
        }
        Ok(last)
    }

    /// Removes tenants that have nothing waiting.
    fn forget(&self, tenants: &[u32]) -> Result<(), Error> {
        let tx = self.0.unchecked_transaction()?;
        let mut tenant = tx.prepare("DELETE FROM tenant WHERE number = ?")?;
        for number in tenants {
            tenant.execute([number])?;
        }
        drop(tenant);
        tx.commit()
    }

    /// Writes all of it or nothing; when it returns, the disk has it.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let tx = self.0.transaction()?;
        add(&tx, batch)?;
        take_away(&tx, batch)?;
        tx.commit()
    }

    /// Writes and syncs an event that is gone again when this returns.
    pub(crate) fn try_out(&mut self) -> Result<(), Error> {
        let tx = self.0.transaction()?;
        // No event has this id.
        tx.execute("INSERT INTO head VALUES (0, x'')", [])?;
        tx.execute("INSERT INTO body VALUES (0, '', x'')", [])?;
        tx.execute("DELETE FROM head WHERE id = 0", [])?;
        tx.execute("DELETE FROM body WHERE id = 0", [])?;
        tx.commit()
    }

    /// Returns a little unused space to the file system. Whether there is more to return.
    pub(crate) fn tidy(&mut self, is_stepped: bool) -> Result<bool, Error> {
        if self.number("freelist_count")? > SPARE_PAGES {
            // It frees a page with each step and has to be stepped to its end.
            let vacuum = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
            let mut vacuum = self.0.prepare_cached(&vacuum)?;
            let mut steps = vacuum.query([])?;
            while steps.next()?.is_some() {}
            return Ok(true);
        }
        if is_stepped {
            // The file shrinks when the log is brought into it.
            let checkpoint = |_: &rusqlite::Row<'_>| Ok(());
            self.0
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], checkpoint)?;
        }
        Ok(false)
    }
}

fn add(tx: &Transaction<'_>, batch: &Batch) -> Result<(), Error> {
    for (number, name) in &batch.tenants {
        tx.execute("INSERT INTO tenant VALUES (?, ?)", params![number, name])?;
    }
    let mut head = tx.prepare_cached("INSERT INTO head VALUES (?, ?)")?;
    let mut body = tx.prepare_cached("INSERT INTO body VALUES (?, ?, ?)")?;
    for (queue, entry, message) in &batch.appends {
        head.execute(params![entry.id, head::pack(*queue, entry)])?;
        body.execute(params![entry.id, message.device, &message.payload[..]])?;
    }
    let mut notes = tx.prepare_cached("INSERT OR REPLACE INTO note VALUES (?, ?, ?)")?;
    for (id, note) in &batch.attempts {
        let cause = note.cause.map_or(0, Cause::code);
        notes.execute(params![id, note.attempts, cause])?;
    }
    let mut bodies =
        tx.prepare_cached("INSERT INTO body SELECT ?, device, bytes FROM body WHERE id = ?")?;
    for moved in &batch.moves {
        let queue = QueueNo::new(moved.tenant, crate::Queue::DeadLetter);
        head.execute(params![moved.new_id, head::pack(queue, &moved.letter())])?;
        bodies.execute(params![moved.new_id, moved.entry.id])?;
        notes.execute(params![moved.new_id, 0, moved.cause.code()])?;
    }
    Ok(())
}

fn take_away(tx: &Transaction<'_>, batch: &Batch) -> Result<(), Error> {
    let mut head = tx.prepare_cached("DELETE FROM head WHERE id = ?")?;
    let mut body = tx.prepare_cached("DELETE FROM body WHERE id = ?")?;
    let mut note = tx.prepare_cached("DELETE FROM note WHERE id = ?")?;
    let removed = batch.removals.iter().map(|gone| (gone.id, gone.has_note));
    let moved = batch.moves.iter().map(|moved| (moved.entry.id, true));
    for (id, has_note) in removed.chain(moved) {
        head.execute([id])?;
        body.execute([id])?;
        if has_note {
            note.execute([id])?;
        }
    }
    Ok(())
}

impl Bodies {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(Self(connection))
    }

    /// The messages of these events, in their order. One that is missing is left out.
    pub(crate) fn read(&self, ids: &[i64]) -> Result<Vec<(i64, Body)>, Error> {
        let select = "SELECT device, bytes FROM body WHERE id = ?";
        let mut select = self.0.prepare_cached(select)?;
        let mut bodies = Vec::with_capacity(ids.len());
        for &id in ids {
            let mut rows = select.query([id])?;
            if let Some(row) = rows.next()? {
                let payload = row.get_ref(1)?.as_blob()?;
                let body = Body {
                    device: row.get_ref(0)?.as_str()?.into(),
                    payload: Bytes::copy_from_slice(payload),
                };
                bodies.push((id, body));
            }
        }
        Ok(bodies)
    }
}

/// What `head` has of an event: five numbers of 32 bits. To read one column and not five halves the
/// time of a start with millions of events.
mod head {
    use crate::event::{Entry, QueueNo};

    pub(super) fn pack(queue: QueueNo, entry: &Entry) -> [u8; 20] {
        let mut head = [0; 20];
        let numbers = [queue.0, entry.key, entry.len, entry.stored, entry.expires];
        for (place, number) in head.chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        head
    }

    pub(super) fn unpack(id: i64, head: &[u8; 20]) -> (QueueNo, Entry) {
        let number = |at: usize| {
            let bytes = std::array::from_fn(|byte| head[4 * at + byte]);
            u32::from_le_bytes(bytes)
        };
        let entry = Entry {
            id,
            key: number(1),
            len: number(2),
            stored: number(3),
            expires: number(4),
        };
        (QueueNo(number(0)), entry)
    }
}

#[cfg(test)]
mod tests;
