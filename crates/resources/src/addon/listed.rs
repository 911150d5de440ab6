//! Which addons import writes down, and by which names.

use stead_engine::listing::Listing;

use super::cluster::{Cluster, Owner, Standing};
use crate::microk8s::SNAP;

impl Cluster {
    /// Lists what somebody enabled, and names what only looks so.
    pub(crate) fn list(&self, listing: &mut Listing) {
        for addon in self.catalogue.addons.keys() {
            match self.standing(addon) {
                Standing::Disabled | Standing::Enabled(Owner::Nobody) => listing.default += 1,
                Standing::Enabled(_) => drop(listing.managed.insert(SNAP.to_owned())),
                Standing::Broken(_) => {
                    listing.ignore("it is broken: objects of it have gone", addon);
                }
                Standing::Mistaken(_) => {
                    listing.ignore("MicroK8s takes objects of others for it", addon);
                }
            }
        }
    }

    /// Whether an addon is enabled because somebody wanted it.
    pub(crate) fn is_chosen(&self, addon: &str) -> bool {
        let standing = self.standing(addon);
        matches!(standing, Standing::Enabled(Owner::Stead | Owner::Other))
    }

    /// Returns the shortest name that means an addon.
    pub(crate) fn short(&self, addon: &str) -> String {
        let bare = addon.split_once('/').map_or(addon, |(_, bare)| bare);
        match self.catalogue.resolve(bare) {
            Ok(full) if full == addon => bare.to_owned(),
            _ => addon.to_owned(),
        }
    }
}
