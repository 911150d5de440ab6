//! Which addons are enabled, and the names by which import writes them.

use std::collections::BTreeMap;

use stead_engine::model::listing::{Listing, Written};

use crate::{
    host::{HostError, Reader},
    microk8s::{
        addons::{
            cluster::{Cluster, Owner, Seen, Standing},
            switch,
        },
        layout::{self, SNAP},
    },
};

/// Why nothing can be said about the addons of a `MicroK8s` that is there.
const UNKNOWN: &str = "MicroK8s is stopped, a worker or older than 1.24, or needs root";

/// Addons with their arguments.
type Addons = BTreeMap<String, Option<Vec<String>>>;

/// Lists what somebody enabled.
pub(crate) async fn list(host: &Reader) -> Result<Listing, HostError> {
    let mut listing = Listing::of("Enabled addons of MicroK8s.", []);
    match Cluster::look(host).await? {
        Seen::Nothing => return Ok(Listing::outside(layout::NOT_INSTALLED)),
        Seen::Unknown => drop(
            listing
                .unreadable
                .insert(SNAP.to_owned(), UNKNOWN.to_owned()),
        ),
        Seen::Cluster(cluster) => cluster.list(&mut listing),
    }
    Ok(listing)
}

/// Returns what a spec says of enabled addons.
pub(crate) async fn written(host: &Reader, addons: Addons) -> Result<Written<Addons>, HostError> {
    let Seen::Cluster(cluster) = Cluster::look(host).await? else {
        return Ok(Written::Unreadable(UNKNOWN.to_owned()));
    };
    let chosen = addons
        .into_iter()
        .filter(|(addon, _)| cluster.is_chosen(addon));
    let named = chosen.map(|(addon, arguments)| (cluster.short(&addon), arguments));
    Ok(Written::down(named.collect()))
}

impl Cluster {
    /// Lists what somebody enabled, and names what only looks so.
    fn list(&self, listing: &mut Listing) {
        for addon in self.catalogue.addons.keys() {
            match self.standing(addon) {
                Standing::Disabled | Standing::Enabled(Owner::Nobody) => listing.default += 1,
                Standing::Enabled(_) => drop(listing.managed.insert(SNAP.to_owned())),
                Standing::Broken(_) => {
                    listing.ignore("it is broken: objects of it are missing", addon);
                }
                Standing::Mistaken(_) => {
                    listing.ignore("MicroK8s mistakes objects of others for it", addon);
                }
            }
        }
    }

    /// Returns the addons that are enabled, with their arguments, and says where MicroK8s thinks otherwise.
    pub(crate) fn enabled(&self) -> (Addons, Vec<String>) {
        let mut addons = BTreeMap::new();
        let mut remarks = vec![];
        for name in self.catalogue.addons.keys() {
            match self.standing(name) {
                Standing::Disabled => {}
                Standing::Enabled(owner) => {
                    if owner == Owner::Stead && !self.is_hit(name) {
                        remarks.push(format!(
                            "MicroK8s reports {name} as disabled, although all its objects exist"
                        ));
                    }
                    let arguments = self.arguments(name);
                    addons.insert(name.clone(), Some(arguments.unwrap_or_default()));
                }
                Standing::Broken(gone) => remarks.push(format!(
                    "{name} is broken: these are missing: {}",
                    switch::list(&gone)
                )),
                Standing::Mistaken(objects) => remarks.push(format!(
                    "MicroK8s reports {name} as enabled because of {}, which does not belong to it",
                    switch::list(&objects)
                )),
            }
        }
        (addons, remarks)
    }

    /// Whether an addon is enabled because somebody wanted it.
    fn is_chosen(&self, addon: &str) -> bool {
        let standing = self.standing(addon);
        matches!(standing, Standing::Enabled(Owner::Stead | Owner::Other))
    }

    /// Returns the shortest name that means an addon.
    fn short(&self, addon: &str) -> String {
        let bare = addon.split_once('/').map_or(addon, |(_, bare)| bare);
        match self.catalogue.resolve(bare) {
            Ok(full) if full == addon => bare.to_owned(),
            _ => addon.to_owned(),
        }
    }
}
