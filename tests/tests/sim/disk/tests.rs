use super::*;

fn write(disk: &SimDisk, path: &str, bytes: &[u8], at: u64) -> Box<dyn DiskFile> {
    let path = Path::new(path);
    let mode = if disk.contents(path).is_some() { Mode::Change } else { Mode::Create };
    let file = disk.open(path, mode).expect("a file");
    file.write_at(bytes, at).expect("written");
    file
}

#[test]
fn what_was_synced_stays_and_what_was_not_may_go() {
    let (mut lost, mut kept, mut torn, mut nameless) = (0, 0, 0, 0);
    for seed in 0..200 {
        let disk = SimDisk::new(Rng::with_seed(seed));
        write(&disk, "/a", b"one ", 0).sync().expect("synced");
        disk.sync_dir(Path::new("/")).expect("synced");
        let a = write(&disk, "/a", b"two ", 4);
        write(&disk, "/b", b"new", 0).sync().expect("synced");
        disk.restart(Crash::PowerCut);
        assert!(a.bytes().is_err(), "it was opened before the crash");
        let found = disk.contents(Path::new("/a")).expect("its name was synced");
        assert!(found.starts_with(b"one "), "{found:?}");
        match &found[4..] {
            b"" => lost += 1,
            b"two " => kept += 1,
            _ => torn += 1,
        }
        nameless += u32::from(disk.contents(Path::new("/b")).is_none());
    }
    assert!(lost > 20 && kept > 20 && torn > 20 && nameless > 20, "{lost} {kept} {torn} {nameless}");
}

#[test]
fn a_kill_loses_nothing_that_was_written() {
    let disk = SimDisk::new(Rng::with_seed(1));
    write(&disk, "/a", b"one", 0);
    disk.rename(Path::new("/a"), Path::new("/b")).expect("renamed");
    disk.restart(Crash::Kill);
    assert_eq!(disk.contents(Path::new("/b")).as_deref(), Some(&b"one"[..]));
    assert_eq!(disk.worst_case().names(Path::new("/")), Vec::<String>::new());
}

#[test]
fn a_fuse_strikes_within_an_operation_and_nothing_works_behind_it() {
    let disk = SimDisk::new(Rng::with_seed(7));
    let file = write(&disk, "/a", b"one", 0);
    disk.set_fuse(Some(1));
    file.sync().expect("one operation goes well");
    assert!(file.write_at(b"four", 3).is_err() && disk.is_down() && file.sync().is_err());
    disk.restart(Crash::Kill);
    let found = disk.contents(Path::new("/a")).expect("there");
    assert!(found.starts_with(b"one") && found.len() <= 7);
    assert_eq!(disk.struck().within_operations, 1);
}
