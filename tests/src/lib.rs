//! Runs stead on hosts that a test made and throws away.
