//! The kind `snap` on booted hosts: a store with an older snapd, files and holds with a newer one.

use e2e::{Fingerprint, Host, Image, Inside, difference, standin};

const SPEC: &str = "/root/host.kdl";

fn write(host: &Host, resources: &str) {
    host.put(SPEC, &format!("host \"test\" {{\n{resources}\n}}\n"));
}

/// Applies, and expects that nothing is left to do.
fn apply(host: &Host, resources: &str) {
    write(host, resources);
    let said = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = host.stead(&["plan", SPEC]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

fn plan(host: &Host, resources: &str) -> e2e::Said {
    write(host, resources);
    host.stead(&["plan", SPEC])
}

fn assert_same(host: &Host, before: &Fingerprint) {
    let mut differences = difference(before, &host.fingerprint());
    // The install hook of the snap makes a group, and nothing of the snap removes it.
    differences.retain(|line| {
        !["/etc/group", "/etc/gshadow"]
            .iter()
            .any(|file| line.starts_with(file))
    });
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn list(host: &Host) -> String {
    host.must(&["snap", "list", "--all"]).out
}

#[test]
fn a_snap_of_the_store_comes_moves_and_goes_back() {
    let host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    let bare = host.fingerprint();
    let one = "snap \"microk8s\" channel=\"1.32/stable\" classic=#true hold=\"forever\"";
    let said = plan(&host, one);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(!said.out.contains("0 B to download"), "{}", said.out);
    apply(&host, one);
    assert!(list(&host).contains("1.32/stable"), "{}", list(&host));
    let said = host.must(&["snap", "get", "system", "refresh.hold"]).out;
    assert!(said.starts_with("20"), "{said}");
    let first = host.fingerprint();

    host.publish("microk8s", "microk8s_2", 2);
    let two = one.replace("1.32", "1.33");
    apply(&host, &two);
    assert!(list(&host).contains("v1.33.5"), "{}", list(&host));
    let said = host.stead(&["undo", "--yes", "2"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let there = list(&host);
    assert!(
        there.contains("1.32/stable") && !there.contains("v1.33.5"),
        "{there}"
    );
    assert_same(&host, &first);

    let said = host.stead(&["undo", "--yes", "1"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!list(&host).contains("microk8s"), "{}", list(&host));
    assert_same(&host, &bare);
}

#[test]
fn what_the_store_does_not_have_is_known_before_anything_changes() {
    let host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    for (resources, fault) in [
        ("snap \"none-such\"", "the store has no snap `none-such`"),
        (
            "snap \"microk8s\" revision=\"99\" classic=#true",
            "the store has no revision 99 of `microk8s`",
        ),
    ] {
        let said = plan(&host, resources);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains(fault), "{}", said.err);
    }
    write(&host, "snap \"microk8s\"");
    let said = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("classic=#true"), "{}", said.err);

    host.must(&["systemctl", "stop", "store.service"]);
    let said = plan(
        &host,
        "snap \"microk8s\" channel=\"1.32/stable\" classic=#true",
    );
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("the store cannot be asked"),
        "{}",
        said.err
    );
}

#[test]
fn a_file_is_installed_held_and_taken_back() {
    let host = Host::boot(Image::Debian13);
    let file = format!("{}/microk8s_1.snap", standin::FOLDER);
    let wish =
        format!("snap \"microk8s\" file={file:?} dangerous=#true classic=#true hold=\"forever\"");
    let bare = host.fingerprint();
    apply(&host, &wish);
    assert!(list(&host).contains("v1.32.9"), "{}", list(&host));
    apply(&host, &wish.replace("microk8s_1", "microk8s_2"));
    assert!(list(&host).contains("v1.33.5"), "{}", list(&host));
    let said = host.stead(&["undo", "--yes", "2"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    apply(&host, &wish);
    let said = host.stead(&["undo", "--yes", "1"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_same(&host, &bare);

    host.put("/root/no.snap", "text");
    for (resources, fault) in [
        (
            "snap \"microk8s\" file=\"no.snap\" dangerous=#true",
            "is not a snap",
        ),
        ("snap \"microk8s\" file=\"none.snap\"", "there is no file"),
        (
            &*wish.replace(" dangerous=#true", ""),
            "there are no assertions beside",
        ),
        (
            "snap \"microk8s\" channel=\"1.32/stable\"",
            "the store cannot be asked",
        ),
    ] {
        let said = plan(&host, resources);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains(fault), "{}", said.err);
    }
}

#[test]
fn a_snap_that_goes_comes_back_with_its_data() {
    let host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    apply(
        &host,
        "snap \"microk8s\" channel=\"1.32/stable\" classic=#true",
    );
    let (own, kept) = (
        "/var/snap/microk8s/current/mine",
        "/var/snap/microk8s/common/mine",
    );
    host.put(own, "of this revision");
    host.put(kept, "of all revisions");
    apply(&host, "snap \"microk8s\" absent=#true");
    assert!(!list(&host).contains("microk8s"), "{}", list(&host));
    assert_eq!(host.get(kept), None);
    let said = host.stead(&["undo", "--yes", "2"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(list(&host).contains("1.32/stable"), "{}", list(&host));
    assert_eq!(host.get(own).as_deref(), Some("of this revision"));
    assert_eq!(host.get(kept).as_deref(), Some("of all revisions"));
    let sets = host.must(&["snap", "saved"]);
    assert!(!sets.out.contains("microk8s"), "{sets:?}");
}
