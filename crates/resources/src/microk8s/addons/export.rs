//! Which addons are enabled, and the names by which import writes them.

use std::collections::BTreeMap;

use stead_engine::model::listing::{Export, Listing};

use crate::{
    host::{HostError, Reader},
    microk8s::{
        addons::{
            cluster::{AddonStatus, Cluster, ClusterView, EnabledBy},
            switch,
        },
        layout::{self, SNAP},
    },
};

/// Why nothing can be said about the addons of a `MicroK8s` that is there.
const UNREADABLE: &str = "MicroK8s is stopped, a worker or older than 1.24, or needs root";

/// Addons with their arguments.
type AddonArguments = BTreeMap<String, Option<Vec<String>>>;

/// Lists what somebody enabled.
pub(crate) async fn list_enabled(host: &Reader) -> Result<Listing, HostError> {
    let mut listing = Listing::new("Enabled addons of MicroK8s.", []);
    match Cluster::read(host).await? {
        ClusterView::NotInstalled => return Ok(Listing::not_importable(layout::NOT_INSTALLED)),
        ClusterView::Unknown => drop(
            listing
                .unreadable
                .insert(SNAP.to_owned(), UNREADABLE.to_owned()),
        ),
        ClusterView::Cluster(cluster) => cluster.add_to_listing(&mut listing),
    }
    Ok(listing)
}

/// Returns what a spec says of enabled addons.
pub(crate) async fn export_addons(
    host: &Reader,
    addons: AddonArguments,
) -> Result<Export<AddonArguments>, HostError> {
    let ClusterView::Cluster(cluster) = Cluster::read(host).await? else {
        return Ok(Export::Unreadable(UNREADABLE.to_owned()));
    };
    let chosen = addons
        .into_iter()
        .filter(|(addon, _)| cluster.is_user_enabled(addon));
    let named = chosen.map(|(addon, arguments)| (cluster.shortest_name(&addon), arguments));
    Ok(Export::as_is(named.collect()))
}

impl Cluster {
    /// Lists what somebody enabled, and names what only looks so.
    fn add_to_listing(&self, listing: &mut Listing) {
        for addon in self.catalog.addons.keys() {
            match self.status(addon) {
                AddonStatus::Disabled | AddonStatus::Enabled(EnabledBy::BuiltIn) => {
                    listing.default += 1;
                }
                AddonStatus::Enabled(_) => drop(listing.managed.insert(SNAP.to_owned())),
                AddonStatus::Broken(_) => {
                    listing.ignore("it is broken: objects of it are missing", addon);
                }
                AddonStatus::Mistaken(_) => {
                    listing.ignore("MicroK8s mistakes objects of others for it", addon);
                }
            }
        }
    }

    /// Returns the addons that are enabled, with their arguments, and says where MicroK8s thinks otherwise.
    pub(crate) fn enabled(&self) -> (AddonArguments, Vec<String>) {
        let mut addons = BTreeMap::new();
        let mut remarks = vec![];
        for name in self.catalog.addons.keys() {
            match self.status(name) {
                AddonStatus::Disabled => {}
                AddonStatus::Enabled(owner) => {
                    if owner == EnabledBy::Stead && !self.is_reported_enabled(name) {
                        remarks.push(format!(
                            "MicroK8s reports {name} as disabled, although all its objects exist"
                        ));
                    }
                    let arguments = self.arguments(name);
                    addons.insert(name.clone(), Some(arguments.unwrap_or_default()));
                }
                AddonStatus::Broken(gone) => remarks.push(format!(
                    "{name} is broken: these are missing: {}",
                    switch::join_identities(&gone)
                )),
                AddonStatus::Mistaken(objects) => remarks.push(format!(
                    "MicroK8s reports {name} as enabled because of {}, which does not belong to it",
                    switch::join_identities(&objects)
                )),
            }
        }
        (addons, remarks)
    }

    /// Whether an addon is enabled because somebody wanted it.
    fn is_user_enabled(&self, addon: &str) -> bool {
        let status = self.status(addon);
        matches!(
            status,
            AddonStatus::Enabled(EnabledBy::Stead | EnabledBy::Other)
        )
    }

    /// Returns the shortest name that means an addon.
    fn shortest_name(&self, addon: &str) -> String {
        let bare = addon.split_once('/').map_or(addon, |(_, bare)| bare);
        match self.catalog.resolve(bare) {
            Ok(full) if full == addon => bare.to_owned(),
            _ => addon.to_owned(),
        }
    }
}
