//! What this host knows of values that are just being typed into a spec. What cannot be read suggests nothing.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use crate::{
    host::{MetaKind, Reader},
    kinds::{snap::read, sysctl},
    microk8s::{
        addons::catalog::Catalogue,
        layout::{self, Layout, SNAP},
    },
    snapd::client,
};

/// The most names that are suggested together.
const ENOUGH: usize = 10_000;

/// Names the addons that the repositories of this host have, without the repository where that is clear.
pub(crate) fn addons(host: &Reader) -> Vec<String> {
    let layout = Layout::find(host).ok().flatten();
    let catalogue = layout.and_then(|layout| Catalogue::read(host, &layout).ok().flatten());
    let Some(catalogue) = catalogue else {
        return vec![];
    };
    let bare = |name: &str| name.split_once('/').map(|(_, bare)| bare.to_owned());
    let names = catalogue.addons.keys();
    let names = names.map(|name| {
        let is_clear = |bare: &String| catalogue.resolve(bare).is_ok_and(|whole| whole == *name);
        bare(name).filter(is_clear).unwrap_or_else(|| name.clone())
    });
    names.collect()
}

/// Names the flags that a file of arguments has now, or has in this release before anybody changes it.
pub(crate) fn flags(host: &Reader, file: &str) -> Vec<String> {
    let flags: BTreeSet<String> = all_flags(host, file).map(|(flag, _)| flag).collect();
    let is_own = |flag: &String| layout::is_own(file, flag);
    flags.into_iter().filter(|flag| !is_own(flag)).collect()
}

/// Returns the values that a flag has now, or has before anybody changes it.
pub(crate) fn values_of_flag(host: &Reader, file: &str, flag: &str) -> Vec<String> {
    let same = all_flags(host, file).filter(|(name, _)| name == flag);
    let values: BTreeSet<String> = same.filter_map(|(_, value)| value).collect();
    values.into_iter().collect()
}

fn all_flags(host: &Reader, file: &str) -> impl Iterator<Item = (String, Option<String>)> {
    let layout = Layout::find(host).ok().flatten();
    let files = layout.map(|layout| {
        let now = layout.read_args(host, file).ok().flatten();
        [now, layout.default_args(host, file).ok()]
    });
    let files = files.into_iter().flatten().flatten();
    files.flat_map(|file| file.flags())
}

/// Names the snaps that are installed.
pub(crate) async fn snaps(host: &Reader) -> Vec<String> {
    let all = read::all(host).await.unwrap_or_default();
    all.into_iter().map(|snap| snap.name).collect()
}

/// Names the channels of a snap: the one that it follows, and those of the store if it can be asked.
pub(crate) async fn channels(host: &Reader, name: &str) -> Vec<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || !name.chars().all(is_plain) {
        return vec![];
    }
    let installed = client::installed(host, &[name]).await.unwrap_or_default();
    let followed = installed.into_values().map(|snap| snap.channel);
    let mut channels: Vec<String> = followed.filter(|channel| !channel.is_empty()).collect();
    let found = client::get(host, &format!("/v2/find?name={name}")).await;
    let of_store = found.ok().map(|found| found[0]["channels"].clone());
    if let Some(Value::Object(of_store)) = of_store {
        channels.extend(of_store.into_iter().map(|(channel, _)| channel));
    }
    channels.sort();
    channels.dedup();
    channels
}

/// Names the settings that the kernel has, as sysctl(8) writes them.
pub(crate) fn sysctls(host: &Reader) -> Vec<String> {
    let top = Path::new("/proc/sys");
    let mut folders = vec![top.to_owned()];
    let mut names = vec![];
    while let Some(folder) = folders.pop() {
        for entry in host.list_folder(&folder).unwrap_or_default() {
            let path = folder.join(entry);
            match host.stat(&path).ok().flatten().map(|meta| meta.kind) {
                Some(MetaKind::Folder) => folders.push(path),
                Some(MetaKind::File) => {
                    let key = path.strip_prefix(top).ok().and_then(Path::to_str);
                    names.extend(key.and_then(sysctl::name));
                }
                _ => {}
            }
        }
        if names.len() > ENOUGH {
            break;
        }
    }
    names.sort();
    names
}

/// Names the clusters whose addons stead knows.
pub(crate) fn clusters() -> Vec<String> {
    vec![SNAP.to_owned()]
}
