#!/usr/bin/env python3
"""Becomes a program of a container image, as a container's runtime starts it: with the image's
user, environment and entry point, in its root, without capabilities, under a seccomp profile.

confine.py CONFIG.json ROOT PROFILE.json [--allow NAME,...] [--health] [ARGUMENT...]
"""

import json
import os
import sys

import seccomp

ACTIONS = {"SCMP_ACT_ALLOW": seccomp.ALLOW, "SCMP_ACT_KILL": seccomp.KILL}
COMPARISONS = {f"SCMP_CMP_{name}": getattr(seccomp, name) for name in
               ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")}


def action(rule, name):
    if rule[name] == "SCMP_ACT_ERRNO":
        key = "defaultErrnoRet" if name == "defaultAction" else "errnoRet"
        return seccomp.ERRNO(rule.get(key, 1))
    return ACTIONS[rule[name]]


def is_for_us(rule):
    """Whether a rule is for a process without capabilities on this architecture."""
    wants, refuses = rule.get("includes", {}), rule.get("excludes", {})
    arches = wants.get("arches", ["amd64"])
    return not wants.get("caps") and "amd64" in arches and "amd64" not in refuses.get("arches", [])


def read_filter(path, allowed):
    profile = json.load(open(path))
    made = seccomp.SyscallFilter(action(profile, "defaultAction"))
    for rule in filter(is_for_us, profile["syscalls"]):
        if rule["action"] == profile["defaultAction"]:
            continue
        arguments = [seccomp.Arg(each["index"], COMPARISONS[each["op"]], each["value"],
                                 each.get("valueTwo", 0)) for each in rule.get("args") or []]
        for name in rule["names"]:
            try:
                made.add_rule(action(rule, "action"), name, *arguments)
            except (RuntimeError, ValueError):
                pass  # A call that this library or this architecture does not know.
    for name in allowed:
        # libseccomp 2.5 has the names of io_uring's calls.
        made.add_rule(seccomp.ALLOW, name)
    return made


def main():
    config, root, profile, *arguments = sys.argv[1:]
    image = json.load(open(config))["config"]
    allowed = []
    if arguments[:1] == ["--allow"]:
        allowed, arguments = arguments[1].split(","), arguments[2:]
    command = image["Entrypoint"] + arguments
    if arguments[:1] == ["--health"]:
        command = image["Healthcheck"]["Test"][1:]
    made = read_filter(profile, allowed)
    user, group = map(int, image["User"].split(":"))
    os.chroot(root)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    environment = dict(each.split("=", 1) for each in image["Env"])
    # It forbids new privileges as well.
    made.load()
    os.execve(command[0], command, environment)


main()
