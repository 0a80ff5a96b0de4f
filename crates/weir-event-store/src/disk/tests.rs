use super::*;
use crate::Options;

fn event(id: i64) -> (QueueNo, Entry, Body) {
    let (key, len, stored, expires) = (7, 20_000, 1, 0);
    let entry = Entry {
        id,
        key,
        len,
        stored,
        expires,
    };
    let body = Body {
        device: "d".into(),
        payload: Bytes::from(vec![1; 20_000]),
    };
    (QueueNo::new(1, crate::Queue::Event), entry, body)
}

fn batch(ids: std::ops::Range<i64>) -> Batch {
    Batch {
        appends: ids.map(event).collect(),
        ..Batch::default()
    }
}

fn removal(id: i64) -> Removal {
    let queue = QueueNo::new(1, crate::Queue::Event);
    let (len, has_note) = (20_000, false);
    Removal {
        queue,
        id,
        len,
        has_note,
    }
}

fn open(folder: &tempfile::TempDir) -> Disk {
    Disk::open(&folder.path().join("events.db")).unwrap()
}

fn first_tenant() -> Batch {
    Batch {
        tenants: vec![(1, "t".into())],
        ..Batch::default()
    }
}

#[test]
fn a_commit_is_synced_and_the_space_of_events_can_be_returned() {
    let folder = tempfile::tempdir().unwrap();
    // Both at once, and when it is there already.
    for _ in 0..2 {
        let disk = open(&folder);
        assert_eq!(disk.number("synchronous").unwrap(), 2, "FULL");
        assert_eq!(disk.number("auto_vacuum").unwrap(), 2, "INCREMENTAL");
        assert_eq!(disk.number("wal_autocheckpoint").unwrap(), 16_000);
        let mode: String = disk
            .0
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
    }
}

#[test]
fn a_database_that_is_full_refuses_whole_batches_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = open(&folder);
    disk.write(&first_tenant()).unwrap();
    disk.write(&batch(1..20)).unwrap();
    let pages = disk.number("page_count").unwrap() + 10;
    disk.0.pragma_update(None, "max_page_count", pages).unwrap();
    let error = disk.write(&batch(20..40)).unwrap_err();
    assert!(is_full(&error), "{error}");
    // Removing needs no room, and what it frees can be used.
    let removals = Batch {
        removals: (1..15).map(removal).collect(),
        ..Batch::default()
    };
    disk.write(&removals).unwrap();
    disk.write(&batch(20..30)).unwrap();
    drop(disk);
    let mut index = Index::new(Options::default());
    assert_eq!(open(&folder).restore(&mut index).unwrap(), 29);
    let figures = index.figures(1);
    assert_eq!(figures[0].events.count, 15);
    assert_eq!(figures[0].events.bytes, 300_000);
}

#[test]
fn unused_space_is_returned_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = open(&folder);
    disk.write(&first_tenant()).unwrap();
    disk.write(&batch(0..1000)).unwrap();
    let removals = Batch {
        removals: (0..1000).map(removal).collect(),
        ..Batch::default()
    };
    disk.write(&removals).unwrap();
    let before = disk.number("page_count").unwrap();
    let mut steps = 0;
    while disk.tidy(steps > 0).unwrap() {
        steps += 1;
    }
    assert!(steps > 2, "{steps}");
    let after = disk.number("page_count").unwrap();
    assert!(after < SPARE_PAGES + 20, "{before} → {after}");
    let file = std::fs::metadata(folder.path().join("events.db")).unwrap();
    assert_eq!(file.len(), after.unsigned_abs() * 4096);
}

#[test]
fn a_layout_of_a_newer_release_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(&folder);
    disk.0.pragma_update(None, "user_version", 2).unwrap();
    drop(disk);
    let error = Disk::open(&folder.path().join("events.db")).unwrap_err();
    assert!(matches!(error, OpenError::Newer(2)), "{error}");
}
