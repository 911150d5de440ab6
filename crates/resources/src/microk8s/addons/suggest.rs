//! Addons and clusters that an editor may suggest.

use crate::{
    host::Reader,
    microk8s::{
        addons::catalog::Catalog,
        layout::{Layout, SNAP},
    },
};

/// Names the addons that the repositories of this host have, without the repository where that is clear.
pub(crate) fn addons(host: &Reader) -> Vec<String> {
    let layout = Layout::find(host).ok().flatten();
    let catalogue = layout.and_then(|layout| Catalog::read(host, &layout).ok().flatten());
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

/// Names the clusters whose addons stead knows.
pub(crate) fn clusters() -> Vec<String> {
    vec![SNAP.to_owned()]
}
