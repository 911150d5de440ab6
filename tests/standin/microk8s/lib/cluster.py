"""What the commands know of the cluster."""

import os
import subprocess
import time

SNAP_DATA = os.environ["SNAP_DATA"]
CLIENT_CONFIG = f"{SNAP_DATA}/credentials/client.config"
KUBECTL = ["/usr/lib/kubernetes/bin/kubectl", f"--kubeconfig={CLIENT_CONFIG}"]


def lock(name):
    return f"{SNAP_DATA}/var/lock/{name}"


def ask(*args):
    return subprocess.run([*KUBECTL, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def is_ready():
    return "service/kubernetes" in ask("get", "all", "-A") and " Ready " in ask("get", "nodes")


def wait_ready(timeout):
    """Asks every two seconds, at least once, for ever when the timeout is 0. It is looked at between questions only."""
    end = time.monotonic() + timeout
    while not is_ready():
        if timeout and time.monotonic() > end:
            return False
        time.sleep(2)
    return True
