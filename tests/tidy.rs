//! What keeps the tree as it should be: who may import whom, how long a file may be, where `unsafe`
//! may stand, and that `docs/INVARIANTS.md` knows every code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// Each package: its folder, the root of its sources, and those of the others that it may stand on
/// when it is not under test.
const PACKAGES: &[(&str, &str, &[&str])] = &[
    (".", "src/lib.rs", &["ringmq-mqtt"]),
    ("crates/mqtt", "src/lib.rs", &[]),
    ("crates/sim", "src/lib.rs", &["ringmq", "ringmq-mqtt"]),
    ("bench", "src/main.rs", &["ringmq-mqtt"]),
    ("crash", "src/main.rs", &["ringmq-mqtt"]),
];

/// The folders whose modules the layers below name.
const LAYERED: &[&str] = &["src", "crates"];

/// Each module and what it may import: only what stands below it. A folder in `crates` is a module.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("limits", &[]),
    ("options", &["limits"]),
    ("mqtt", &[]),
    ("metrics", &["base"]),
    ("audit", &["limits"]),
    ("topics", &["base", "limits", "mqtt"]),
    ("access", &["base", "limits", "mqtt"]),
    ("store", &["base", "limits", "mqtt", "access"]),
    (
        "broker",
        &["base", "limits", "options", "metrics", "audit", "mqtt", "topics", "access", "store"],
    ),
    ("transfer", &["base", "limits", "mqtt", "store"]),
    ("mesh", &["base", "limits"]),
    ("io", &["base", "limits"]),
    ("transport", &["base", "limits", "options"]),
    ("journal", &["base", "limits", "metrics", "store", "mesh", "io"]),
    (
        "worker",
        &[
            "base",
            "limits",
            "options",
            "metrics",
            "audit",
            "mqtt",
            "access",
            "store",
            "broker",
            "mesh",
            "io",
            "transport",
        ],
    ),
    ("bridge", &["options", "mqtt"]),
    (
        "server",
        &[
            "base",
            "bridge",
            "limits",
            "options",
            "metrics",
            "audit",
            "mqtt",
            "access",
            "store",
            "broker",
            "mesh",
            "io",
            "transport",
            "journal",
            "worker",
            "transfer",
        ],
    ),
    ("testing", &["base", "topics", "access", "store", "broker", "io"]),
    ("sim", &["base", "limits", "options", "metrics", "access", "store", "broker", "testing"]),
    ("main", &["io", "server"]),
    ("lib", &[]),
];

/// Each third-party crate that has one home, and the homes.
const CRATE_HOMES: &[(&str, &[&str])] = &[
    // The broker says `crate::mqtt`, so that the layers hold.
    ("ringmq_mqtt", &["mqtt", "sim"]),
    ("ringmq_sim", &["sim"]),
    ("io_uring", &["io"]),
    ("axum", &["server"]),
    ("hyper", &["server"]),
    ("form_urlencoded", &["server"]),
    ("hyper_util", &["server"]),
    ("rustls_platform_verifier", &["server"]),
    ("tokio_rustls", &["server"]),
    ("rtrb", &["mesh"]),
    ("tokio_uring", &["server", "journal"]),
    ("tokio", &["server", "journal"]),
    ("crc32c", &["store"]),
    ("postcard", &["store"]),
    ("serde_bytes", &["store"]),
    ("clap", &["server"]),
    ("core_affinity", &["server"]),
    ("tracing_subscriber", &["server"]),
    ("libmimalloc_sys", &["io"]),
    ("mimalloc", &["main"]),
    ("hdrhistogram", &["metrics", "server"]),
    ("slab", &["base", "topics"]),
    ("socket2", &["io", "server"]),
    ("rustix", &["io", "server"]),
    ("ipnet", &["options"]),
    ("dashmap", &["broker", "worker"]),
    ("argon2", &["access"]),
    ("base64", &["access", "server", "transfer"]),
    ("crossbeam_channel", &["server", "worker"]),
    ("getrandom", &["base"]),
    ("hmac", &["access"]),
    ("jsonwebtoken", &["access"]),
    ("pbkdf2", &["access"]),
    ("ratatui", &["server"]),
    ("nix", &["options", "server"]),
    ("rpassword", &["server"]),
    ("serde", &["access", "audit", "base", "server", "store", "transfer"]),
    ("sd_notify", &["io", "server"]),
    ("serde_json", &["access", "audit", "server", "transfer"]),
    ("sha2", &["access", "audit"]),
    ("strsim", &["server"]),
    ("subtle", &["access"]),
    ("toml", &["server"]),
    ("ureq", &["server"]),
    ("utoipa", &["server"]),
    ("utoipa_axum", &["server"]),
    ("zeroize", &["access"]),
    ("rustls", &["transport", "server"]),
    ("tungstenite", &["transport"]),
    ("httparse", &["transport"]),
    ("ppp", &["transport"]),
    ("x509_parser", &["transport"]),
];

/// The files that may hold `unsafe`, all of them in `io`.
const UNSAFE_FILES: &[&str] = &[
    "src/io/buffers.rs",
    "src/io/iovecs.rs",
    "src/io/memory.rs",
    "src/io/pages.rs",
    "src/io/passed.rs",
    "src/io/poll.rs",
    "src/io/send.rs",
    "src/io/socket.rs",
    "src/io/uring.rs",
];

const FILE_LINES_MAX: usize = 800;
const LINE_COLUMNS_MAX: usize = 100;

struct Source {
    path: String,
    module: String,
    text: String,
}

/// Folders whose files import each other in one direction.
const ONE_WAY: &[&str] = &["src/broker", "src/worker"];

/// Owners with walls: no field of theirs is open to another file.
const OWNERS: &[(&str, &str)] = &[
    ("src/broker/aliases.rs", "Aliases"),
    ("src/broker/audit_trail.rs", "AuditTrail"),
    ("src/broker/backlog.rs", "Backlog"),
    ("src/broker/carry.rs", "Carry"),
    ("src/broker/deferred.rs", "DeferredResponses"),
    ("src/broker/delivery_queue.rs", "DeliveryQueue"),
    ("src/broker/drops.rs", "Drops"),
    ("src/broker/homes.rs", "Homes"),
    ("src/broker/link.rs", "Rare"),
    ("src/broker/link_login.rs", "LinkLogin"),
    ("src/broker/live_retained.rs", "LiveRetained"),
    ("src/broker/neighbours.rs", "Neighbours"),
    ("src/broker/rate.rs", "PublishRate"),
    ("src/broker/record_ref.rs", "RecordRef"),
    ("src/broker/replays.rs", "Replays"),
    ("src/broker/timers.rs", "Timers"),
    ("src/mesh/line.rs", "Line"),
    ("src/worker/closing.rs", "Closing"),
    ("src/worker/engine/gate.rs", "Gate"),
    ("src/worker/journal_line.rs", "JournalLine"),
    ("src/worker/links.rs", "Links"),
    ("src/worker/receiving.rs", "Receiving"),
    ("src/worker/transmit.rs", "Slice"),
    ("src/worker/worker.rs", "Worker"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    files_below(&root().join(folder), &mut paths);
    assert!(!paths.is_empty(), "{folder} has no sources");
    paths.sort();
    let source = |path: PathBuf| {
        let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
        let second = relative.split('/').nth(1).unwrap().trim_end_matches(".rs").to_string();
        Source { text: std::fs::read_to_string(&path).unwrap(), path: relative, module: second }
    };
    paths.into_iter().map(source).collect()
}

fn layered() -> impl Iterator<Item = Source> {
    LAYERED.iter().flat_map(|folder| sources(folder))
}

/// The lines that are neither comments nor tests at the file's end.
fn code(source: &Source) -> impl Iterator<Item = &str> {
    let end = source.text.find("#[cfg(test)]").unwrap_or(source.text.len());
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    source.text[..end].lines().filter(is_code)
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The word after `prefix`, wherever it stands in the line.
fn words_after<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    line.match_indices(prefix)
        .map(|(at, _)| {
            let rest = &line[at + prefix.len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            &rest[..end]
        })
        .collect()
}

#[test]
fn modules_import_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for source in layered() {
        let layer = LAYERS.iter().find(|(module, _)| *module == source.module);
        let Some((_, below)) = layer else {
            wrong.push(format!("{}: {} is in no layer", source.path, source.module));
            continue;
        };
        for line in code(&source) {
            // In a package of its own `crate` has modules of its own.
            let prefixes: &[_] = if source.path.starts_with("src/") {
                &["crate::", "ringmq::"]
            } else {
                &["ringmq::"]
            };
            for import in prefixes.iter().flat_map(|prefix| words_after(line, prefix)) {
                let is_module = LAYERS.iter().any(|(module, _)| *module == import);
                if is_module && import != source.module && !below.contains(&import) {
                    wrong.push(format!("{} may not import {import}", source.path));
                }
            }
        }
    }
    report(wrong);
}

/// The sibling modules that a file names: what follows `super::` outside its tests.
#[derive(Default)]
struct Siblings(BTreeSet<String>);

impl<'ast> Visit<'ast> for Siblings {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // `super` means something else inside.
        if item.content.is_none() {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_use_path(&mut self, path: &'ast syn::UsePath) {
        if path.ident == "super"
            && let syn::UseTree::Path(next) = &*path.tree
        {
            self.0.insert(next.ident.to_string());
        }
        visit::visit_use_path(self, path);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let [first, second, ..] = &names[..]
            && first == "super"
        {
            self.0.insert(second.clone());
        }
        visit::visit_path(self, path);
    }
}

/// The siblings that can be reached from `from` by one import or more.
fn reached(imports: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(next) = left.pop() {
        for sibling in imports.get(next).into_iter().flatten() {
            if found.insert(sibling.clone()) {
                left.push(sibling);
            }
        }
    }
    found
}

#[test]
fn files_of_a_folder_import_in_one_direction() {
    let mut wrong = Vec::new();
    for folder in ONE_WAY {
        let mut imports = BTreeMap::new();
        for source in sources(folder) {
            let name = source.path[folder.len() + 1..].trim_end_matches(".rs");
            if name.contains('/') || name == "mod" {
                continue;
            }
            let mut siblings = Siblings::default();
            siblings.visit_file(&syn::parse_file(&source.text).unwrap());
            imports.insert(name.to_owned(), siblings.0);
        }
        assert!(imports.values().any(|siblings| siblings.len() > 3), "{folder}: too few imports");
        let is_in_circle = |name: &&String| reached(&imports, name).contains(*name);
        let circle: Vec<_> = imports.keys().filter(is_in_circle).cloned().collect();
        if !circle.is_empty() {
            wrong.push(format!("{folder}: a circle of imports: {}", circle.join(", ")));
        }
    }
    report(wrong);
}

/// A peer that chooses the keys of a map must not be able to prepare collisions. Names in files of
/// the operator are not a peer's.
#[test]
fn maps_by_text_are_ordered_or_seeded() {
    let mut files = Vec::new();
    files_below(&root().join("src"), &mut files);
    let is_by_text = |line: &&str| {
        let line = line.trim_start();
        let keys = ["Box<str>", "Arc<str>", "String", "IpAddr", "Option<IpAddr>"];
        let has_map = |key| line.contains(&format!("HashMap<{key}"));
        !line.starts_with("//") && keys.into_iter().any(has_map)
    };
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !file.starts_with(root().join("src/access"))) {
        let text = std::fs::read_to_string(file).unwrap();
        if text.lines().any(|line| is_by_text(&line)) && !text.contains("with_seed(") {
            wrong.push(format!("{}: a peer chooses the keys of a map", file.display()));
        }
    }
    report(wrong);
}

#[test]
fn owners_open_no_field() {
    let mut wrong = Vec::new();
    for (path, owner) in OWNERS {
        let text = std::fs::read_to_string(root().join(path)).expect(path);
        let items = syn::parse_file(&text).unwrap().items;
        let structs = items.iter().filter_map(|item| match item {
            syn::Item::Struct(item) if item.ident == owner => Some(item),
            _ => None,
        });
        let mut fields = structs.flat_map(|item| &item.fields).peekable();
        assert!(fields.peek().is_some(), "{path} has no struct {owner} with fields");
        for field in fields.filter(|field| !matches!(field.vis, syn::Visibility::Inherited)) {
            let name = field.ident.as_ref().map_or("0".to_owned(), ToString::to_string);
            wrong.push(format!("{path}: {owner}::{name} is open"));
        }
    }
    report(wrong);
}

#[test]
fn third_party_crates_stay_at_home() {
    let mut wrong = Vec::new();
    for source in layered() {
        for (krate, homes) in CRATE_HOMES {
            let uses = |line: &str| {
                let path = format!("{krate}::");
                line.match_indices(&path).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                })
            };
            if !homes.contains(&source.module.as_str()) && code(&source).any(uses) {
                wrong.push(format!("{} uses {krate}, whose home is {homes:?}", source.path));
            }
        }
    }
    report(wrong);
}

#[test]
fn files_are_short_and_lines_narrow() {
    let mut wrong = Vec::new();
    let folders = ["src", "tests", "examples", "crates", "bench", "crash"];
    for source in folders.iter().flat_map(|folder| sources(folder)) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{}: {lines} lines", source.path));
        }
        for (number, line) in source.text.lines().enumerate() {
            if line.chars().count() > LINE_COLUMNS_MAX {
                wrong.push(format!("{}:{}: too wide", source.path, number + 1));
            }
        }
    }
    report(wrong);
}

/// The files of the dashboard, without what others wrote.
fn page_files() -> impl Iterator<Item = (String, String)> {
    let folder = root().join("src/server/dashboard/files");
    std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    })
}

#[test]
fn files_of_the_page_are_short_and_served() {
    let module = std::fs::read_to_string(root().join("src/server/dashboard/mod.rs")).unwrap();
    let mut wrong = Vec::new();
    for (name, text) in page_files() {
        if text.lines().count() > FILE_LINES_MAX {
            wrong.push(format!("{name}: too long"));
        }
        let wide = |line: &str| line.chars().count() > LINE_COLUMNS_MAX;
        let wide = text.lines().zip(1..).filter(|(line, _)| wide(line));
        wrong.extend(wide.map(|(_, number)| format!("{name}:{number}: too wide")));
        if !module.contains(&format!("\"files/{name}\"")) {
            wrong.push(format!("{name} is not in the program"));
        }
    }
    report(wrong);
}

/// Texts of clients must not become markup, and the page must not need another host.
#[test]
fn the_page_makes_no_markup_and_names_no_other_host() {
    let mut wrong = Vec::new();
    let words = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "eval(",
        "new Function",
        "srcdoc",
        "style=",
        " onclick=",
        "javascript:",
        "https://",
        "http://",
    ];
    for (name, text) in page_files() {
        let text = text.replace("http://www.w3.org/2000/svg", "");
        let used = words.iter().filter(|word| text.contains(**word));
        wrong.extend(used.map(|word| format!("{name}: {word}")));
    }
    let vendor = root().join("src/server/dashboard/vendor");
    for library in ["uPlot", "mqtt"] {
        let names = std::fs::read_dir(&vendor).unwrap().map(|entry| entry.unwrap().file_name());
        let licence = format!("{library}.LICENSE");
        if !names.into_iter().any(|name| name.to_string_lossy().starts_with(&licence)) {
            wrong.push(format!("{library} has no licence"));
        }
    }
    report(wrong);
}

/// Words that name nothing: no page of the documentation begins with one of them.
const PRONOUNS: &[&str] = &[
    "it",
    "its",
    "what",
    "whatever",
    "that",
    "this",
    "these",
    "those",
    "who",
    "whoever",
    "whose",
    "which",
    "they",
    "their",
    "he",
    "there",
    "somebody",
    "nobody",
    "everybody",
    "anybody",
    "afterwards",
];

#[test]
fn no_page_begins_with_a_pronoun() {
    let mut wrong = Vec::new();
    let folders = ["src", "crates", "bench/src", "crash/src"];
    for source in folders.iter().flat_map(|folder| sources(folder)) {
        let doc = |line: &str| {
            let text = line.trim_start();
            let text = text.strip_prefix("///").or_else(|| text.strip_prefix("//!"));
            text.map(str::to_owned)
        };
        let mut before = None;
        for (number, line) in source.text.lines().enumerate() {
            let now = doc(line);
            if let (None, Some(text)) = (&before, &now) {
                let word = text.split_whitespace().next().unwrap_or_default().to_lowercase();
                if PRONOUNS.contains(&word.trim_end_matches([',', ':'])) {
                    wrong.push(format!("{}:{}:{text}", source.path, number + 1));
                }
            }
            before = now;
        }
    }
    report(wrong);
}

#[test]
fn unsafe_stands_in_the_files_named_for_it() {
    let mut wrong = Vec::new();
    for source in layered() {
        // Blocks, functions, implementations, attributes, foreign functions: all begin so.
        let begins = ["unsafe ", "unsafe(", "static mut "];
        let has_unsafe = code(&source).any(|line| begins.iter().any(|word| line.contains(word)));
        if has_unsafe != UNSAFE_FILES.contains(&source.path.as_str()) {
            let what = if has_unsafe { "is not listed" } else { "is listed without need" };
            wrong.push(format!("{} {what}", source.path));
        }
    }
    for (module, _) in LAYERS {
        let path = format!("src/{module}/mod.rs");
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        let is_exempt = UNSAFE_FILES.iter().any(|file| file.starts_with(&format!("src/{module}/")));
        if !is_exempt && !text.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{path} does not forbid unsafe code"));
        }
    }
    for (folder, path, _) in PACKAGES.iter().filter(|(folder, ..)| *folder != ".") {
        let text = std::fs::read_to_string(root().join(folder).join(path)).unwrap();
        if !text.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{folder}/{path} does not forbid unsafe code"));
        }
    }
    report(wrong);
}

#[test]
fn no_place_holders() {
    let mut wrong = Vec::new();
    let folders = ["src", "crates", "bench", "crash"];
    for source in folders.iter().flat_map(|folder| sources(folder)) {
        for word in ["todo!", "unimplemented!", "dbg!", "FIXME", "XXX"] {
            if source.text.contains(word) {
                wrong.push(format!("{}: {word}", source.path));
            }
        }
    }
    report(wrong);
}

#[test]
fn the_image_that_is_named_is_of_this_version() {
    let mut wrong = Vec::new();
    let manifests = ["packaging/compose.yaml", "packaging/kubernetes/statefulset.yaml"];
    for path in manifests.into_iter().chain(["docs/OPERATING.md"]) {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        let named: BTreeSet<_> = text.split("localhost/ringmq:").skip(1).collect();
        let is_right = |rest: &&str| rest.starts_with(env!("CARGO_PKG_VERSION"));
        if named.is_empty() || !named.iter().all(is_right) {
            wrong.push(format!("{path} does not name the image of this version"));
        }
    }
    report(wrong);
}

/// The lines of a manifest that name a dependency, each with its section and the line before it.
fn dependencies(manifest: &str) -> Vec<(&str, &str, &str)> {
    let (mut section, mut before, mut found) = ("", "", Vec::new());
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let is_dependency = section.ends_with("dependencies]")
            && line.starts_with(|c: char| c.is_ascii_lowercase());
        if is_dependency {
            found.push((section, before, line));
        }
        before = line;
    }
    found
}

#[test]
fn every_dependency_says_why() {
    let mut wrong = Vec::new();
    for (folder, ..) in PACKAGES {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for (_, before, line) in dependencies(&manifest) {
            if !before.starts_with('#') {
                wrong.push(format!("no reason is given in {folder} for {line}"));
            }
        }
    }
    report(wrong);
}

#[test]
fn packages_stand_on_what_is_below_them() {
    let mut wrong = Vec::new();
    for (folder, _, below) in PACKAGES {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for (section, _, line) in dependencies(&manifest) {
            let name = line.split([' ', '.']).next().unwrap_or_default();
            let is_ours = name.starts_with("ringmq");
            if section == "[dependencies]" && is_ours && !below.contains(&name) {
                wrong.push(format!("{folder} may not depend on {name}"));
            }
        }
    }
    report(wrong);
}

/// `V3`, if that is what the word is.
fn test_code(word: &str) -> Option<String> {
    let (letter, number) = word.split_at_checked(1)?;
    let number: u8 = number.parse().ok()?;
    ["I", "V", "T"].contains(&letter).then(|| format!("{letter}{number}"))
}

/// The codes that a line carries: `V3` in a comment or at the start of a text, `v03_` in a name.
fn test_codes(line: &str) -> Vec<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("fn ") {
        return name.split('_').map_while(|word| test_code(&word.to_uppercase())).collect();
    }
    if line.starts_with("//") {
        return line.split(|c: char| !c.is_alphanumeric()).filter_map(test_code).collect();
    }
    line.split('"')
        .skip(1)
        .step_by(2)
        .filter_map(|text| test_code(text.split(':').next()?))
        .collect()
}

#[test]
fn the_legend_knows_every_code_and_names_tests_that_exist() {
    let legend = std::fs::read_to_string(root().join("docs/INVARIANTS.md")).unwrap();
    let rows =
        legend.lines().filter_map(|line| test_code(line.strip_prefix("| ")?.split(' ').next()?));
    let known: Vec<String> = rows.collect();
    assert!(known.len() > 80, "{known:?}");
    let mut wrong = Vec::new();
    for source in ["src", "crates", "tests", "crash"].iter().flat_map(|folder| sources(folder)) {
        let strange = source.text.lines().flat_map(test_codes).filter(|code| !known.contains(code));
        wrong.extend(strange.map(|code| format!("{}: no row for {code}", source.path)));
    }
    for named in legend.split('`').skip(1).step_by(2) {
        let Some((path, test)) = named.split_once("::") else { continue };
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        if !text.contains(&format!("fn {test}(")) {
            wrong.push(format!("docs/INVARIANTS.md: no test {named}"));
        }
    }
    report(wrong);
}
