#!/usr/bin/env python3
"""Prints the licences of all libraries that are in the program: third-party.py > FILE."""

import json
import pathlib
import subprocess

root = pathlib.Path(__file__).resolve().parent.parent
command = ["cargo", "metadata", "--format-version", "1", "--locked"]
command += ["--filter-platform", "x86_64-unknown-linux-gnu"]
metadata = json.loads(subprocess.check_output(command, cwd=root))
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

# The program, and what is linked into it: no dependency of tests or of builds.
left = [package["id"] for package in packages.values() if package["name"] == "ringmq"]
inside = set(left)
while left:
    for dependency in nodes[left.pop()]["deps"]:
        is_linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
        if is_linked and dependency["pkg"] not in inside:
            inside.add(dependency["pkg"])
            left.append(dependency["pkg"])

# Each text once, with all whose licence it is.
owners = {}
for package in sorted((packages[each] for each in inside), key=lambda it: it["name"]):
    if package["source"] is None:
        continue
    name = f"{package['name']} {package['version']} ({package['license']})"
    folder = pathlib.Path(package["manifest_path"]).parent
    words = ("licen", "copying", "notice", "unlicense")
    files = [file for file in sorted(folder.iterdir()) if file.name.lower().startswith(words)]
    texts = [file.read_text(errors="replace").strip() for file in files if file.is_file()]
    for text in texts or ["(The package has no text of its licence; its name stands above.)"]:
        owners.setdefault(text, []).append(name)
for file in sorted((root / "src/server/dashboard/vendor").glob("*.LICENSE*")):
    owners.setdefault(file.read_text().strip(), []).append(file.name.split(".")[0])

print("Libraries that are in the program ringmq, and their licences.")
for text, names in sorted(owners.items(), key=lambda pair: pair[1]):
    print("\n" + "=" * 80)
    print("\n".join(sorted(set(names))))
    print("-" * 80 + "\n" + text)
