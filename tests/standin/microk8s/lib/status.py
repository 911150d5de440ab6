"""`microk8s status`, printed by hand as the real one does."""

import argparse
import os
import sys

import addons
import cluster


def main(args):
    parser = argparse.ArgumentParser(prog="microk8s status")
    parser.add_argument("--format", choices=["pretty", "yaml", "short"], default="pretty")
    parser.add_argument("-w", "--wait-ready", action="store_true")
    parser.add_argument("-t", "--timeout", type=int, default=0)
    parser.add_argument("-a", "--addon", default="all")
    parser.add_argument("--yaml", action="store_true")
    options = parser.parse_args(args)

    if os.path.exists(cluster.lock("stopped.lock")):
        print("microk8s is not running, try microk8s start")
        return 0
    ready = cluster.wait_ready(options.timeout) if options.wait_ready else cluster.is_ready()
    if not ready:
        print_not_running(options)
        return 1
    enabled, disabled = addons.by_state()
    if options.addon != "all":
        print("enabled" if any(addon["name"] == options.addon for addon in enabled) else "disabled")
    elif options.yaml:
        print("microk8s:", "  running: True", "addons:", sep="\n")
        print_pairs("  ", enabled, disabled)
    elif options.format == "yaml":
        print_yaml(enabled, disabled)
    elif options.format == "short":
        print("microk8s is running", "addons:", sep="\n")
        print_pairs("", enabled, disabled)
    else:
        print_pretty(enabled, disabled)
    return 0


def print_not_running(options):
    message = "microk8s is not running. Use microk8s inspect for a deeper inspection."
    if options.format == "yaml" or options.yaml:
        print("microk8s:", f"{'':>2}running: False", sep="\n")
        print_high_availability()
        print(f"{'':>2}message: {message}")
    else:
        print(message)


def print_high_availability():
    print("high-availability:")
    print(f"{'':>2}enabled: {os.path.exists(cluster.lock('ha-cluster'))}")
    if os.path.exists(cluster.lock("ha-cluster")):
        print(f"{'':>2}nodes:", f"{'':>4}- address: 127.0.0.1:19001", f"{'':>6}role: voter", sep="\n")


def print_yaml(enabled, disabled):
    print("microk8s:", f"{'':>2}running: True", sep="\n")
    print_high_availability()
    print("addons:")
    for state, those in (("enabled", enabled), ("disabled", disabled)):
        for addon in those:
            print(f"{'':>2}- name: {addon['name']}")
            print(f"{'':>4}repository: {addon['repository']}")
            print(f"{'':>4}description: {addon['description']}")
            print(f"{'':>4}version: {addon['version'] or ' '}")
            print(f"{'':>4}status: {state}")


def print_pairs(indent, enabled, disabled):
    for state, those in (("enabled", enabled), ("disabled", disabled)):
        for addon in those:
            print(f"{indent}{addon['repository']}/{addon['name']}: {state}")


def print_pretty(enabled, disabled):
    print("microk8s is running")
    print("high-availability:", "yes" if os.path.exists(cluster.lock("ha-cluster")) else "no")
    print(f"{'':>2}datastore master nodes: 127.0.0.1:19001", f"{'':>2}datastore standby nodes: none", sep="\n")
    print("addons:")
    for state, those in (("enabled", enabled), ("disabled", disabled)):
        if those:
            print(f"{'':>2}{state}:")
        for addon in those:
            print(f"{'':>4}{addon['name']:<20} # ({addon['repository']}) {addon['description']}")
