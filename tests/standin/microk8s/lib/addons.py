"""`microk8s enable`, `disable` and `addons repo`."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys

import cluster

REPOSITORIES = os.path.join(os.environ["SNAP_COMMON"], "addons")
GIT = ["git", "-c", "safe.directory=*"]


def available():
    """All addons of all repositories."""
    found = []
    for repository in sorted(os.listdir(REPOSITORIES)):
        for addon in read(repository)["addons"]:
            found.append(addon | {"repository": repository})
    return found


def read(repository):
    """Reads an addons.yaml. Of YAML it knows what stands in those of the stand-in: a list of flat maps."""
    top, current = {"addons": []}, None
    with open(os.path.join(REPOSITORIES, repository, "addons.yaml")) as file:
        for line in file:
            if found := re.match(r"( *)(- )?([a-z_]+): *(.*)$", line):
                indent, dash, key, value = found.groups()
                value = value.strip().strip("\"'")
                if dash:
                    current = {}
                    top["addons"].append(current)
                if current is not None and indent:
                    current[key] = value
                elif value:
                    top[key] = value
    return top


def by_state():
    """Enabled: what is checked for is part of any line that kubectl prints, or is a file. Nobody asks whose it is."""
    blob = cluster.ask("get", "all,ingress,ingressclass", "-A")
    blob += cluster.ask("get", "clusterroles", "--show-kind", "--no-headers")
    lines = blob.splitlines()
    enabled, disabled = [], []
    for addon in available():
        check = addon["check_status"]
        there = any(check in line for line in lines) or os.path.isfile(os.path.expandvars(check))
        (enabled if there else disabled).append(addon)
    return enabled, disabled


def enable(args):
    return change("enable", args)


def disable(args):
    return change("disable", args)


def change(action, args):
    if not args or "--help" in args or "-h" in args:
        print(f"Usage: microk8s {action} [OPTIONS] ADDONS...")
        return 0 if args else 1
    if not cluster.is_ready():
        print("microk8s is not running. Use microk8s inspect for a deeper inspection.")
        return 1
    with open(cluster.lock(".microk8s-addon-lock"), "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        try:
            wanted = parse(args)
        except ValueError as error:
            print(error)
            return 1
        if len(wanted) > 1:
            print(f"WARNING: Do not {action} or disable multiple addons in one command.")
            print("This form of chained operations on addons will be DEPRECATED in the future.")
        return change_each(action, wanted)


def parse(args):
    """One addon and its arguments, or several addons with theirs behind colons, when each of them is known."""
    names = {addon["name"] for addon in available()}
    tokens = [arg.split(":") for arg in args]
    if len(args) == 1 or all(token[0].split("/")[-1] in names for token in tokens):
        return [(token[0], token[1:]) for token in tokens]
    if any(arg.split(":")[0].split("/")[-1] in names for arg in args[1:]):
        raise ValueError(f"Addons cannot be mixed with arguments: {' '.join(args)}")
    name, *more = args[0].split(":")
    return [(name, more + args[1:])]


def change_each(action, wanted):
    enabled, disabled = by_state()
    already = enabled if action == "enable" else disabled
    for name, args in wanted:
        repository, _, bare = name.rpartition("/")
        those = [addon["repository"] for addon in available() if addon["name"] == bare]
        if repository:
            if repository not in those:
                print(f"Addon {name} was not found in repository {repository}")
                return 0
        elif len(those) > 1:
            print(f"Addon {bare} exists in more than one repository. Please explicitly specify the repository:")
            print(*(f"  {those}/{bare}" for those in those), sep="\n")
            return 1
        elif not those:
            print(f"Addon {bare} was not found in any repository")
            return 1
        else:
            repository = those[0]
            print(f"Infer repository {repository} for addon {bare}", file=sys.stderr)
        if any((addon["repository"], addon["name"]) == (repository, bare) for addon in already):
            print(f"Addon {repository}/{bare} is already {action}d")
            continue
        cluster.wait_ready(30)
        script = os.path.join(REPOSITORIES, repository, "addons", bare, action)
        code = subprocess.run([script, *args]).returncode
        cluster.wait_ready(30)
        if code:
            return code
    return 0


def repositories(args):
    commands = {"add": add, "remove": remove, "update": update, "list": list_all}
    if len(args) < 2 or args[0] != "repo" or args[1] not in commands:
        print("Usage: microk8s addons repo {add,remove,update,list}")
        return 1
    if args[1] != "list" and os.geteuid() != 0:
        print("Elevated permissions are needed for this command. Please use sudo.")
        return 1
    return commands[args[1]](args[2:])


def add(args):
    args = list(args)
    force = "--force" in args
    if force:
        args.remove("--force")
    reference = None
    if "--reference" in args:
        at = args.index("--reference")
        reference = args[at + 1]
        del args[at : at + 2]
    name, source = args
    target = os.path.join(REPOSITORIES, name)
    if os.path.exists(target):
        if not force:
            print(f"Repository `{name}` already exists!")
            return 1
        shutil.rmtree(target)
    branch = ["--branch", reference] if reference else []
    return subprocess.run([*GIT, "clone", "--quiet", *branch, source, target]).returncode


def remove(args):
    target = os.path.join(REPOSITORIES, args[0])
    if not os.path.isdir(target):
        print(f"Repository `{args[0]}` does not exist!")
        return 1
    shutil.rmtree(target)
    return 0


def update(args):
    target = os.path.join(REPOSITORIES, args[0])
    if not os.path.isdir(target):
        print(f"Repository `{args[0]}` does not exist!")
        return 1
    return subprocess.run([*GIT, "-C", target, "pull", "--quiet"]).returncode


def list_all(args):
    rows = []
    for name in sorted(os.listdir(REPOSITORIES)):
        content = read(name)
        source = subprocess.run(
            [*GIT, "-C", os.path.join(REPOSITORIES, name), "remote", "get-url", "origin"], capture_output=True, text=True
        ).stdout.strip()
        rows.append({
            "name": name, "addons": len(content["addons"]), "source": source, "description": content.get("description", "")
        })  # fmt: skip
    how = args[args.index("--format") + 1] if "--format" in args else "table"
    if how == "json":
        print(json.dumps(rows))
    elif how == "yaml":
        for row in rows:
            print(f"- addons: {row['addons']}\n  description: {row['description']}")
            print(f"  name: {row['name']}\n  source: {row['source']}")
    else:
        print(f"{'REPO':>10} {'ADDONS':>6} {'SOURCE'}")
        for row in rows:
            print(f"{row['name']:>10} {row['addons']:>6} {row['source']}")
    return 0
