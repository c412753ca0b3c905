//! No file names a folder of the machine it was written on, nor the host of a package registry.

use super::{Finding, tree::Tree};

// Taken apart, or this file would find itself.
const FOLDERS: [&str; 3] = [concat!("/", "work"), concat!("/", "root"), concat!("/", "home")];
const HOSTS: [&str; 6] = [
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("crates", ".io"),
    concat!("download.", "pytorch.org"),
    concat!("registry.", "npmjs.org"),
    concat!("hugging", "face.co"),
];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Cargo writes the lock file, registry included.
    for file in tree.files.iter().filter(|file| file.name() != "Cargo.lock") {
        for (number, line) in file.lines() {
            for folder in FOLDERS.into_iter().filter(|folder| names_folder(line, folder)) {
                let message = format!(
                    "`{folder}` is a folder of one machine; write a path from the repository, `~` or a temporary folder"
                );
                findings.push(Finding::new(&file.path, number, message));
            }
            for host in HOSTS.into_iter().filter(|host| line.contains(host)) {
                let message = format!(
                    "`{host}` is the host of a registry; name the package, and leave the registry to the user's settings"
                );
                findings.push(Finding::new(&file.path, number, message));
            }
        }
    }
    findings
}

/// Whether `line` has the absolute path `folder`, or one below it.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + folder.len()..].chars().next();
        let inside_path = before.is_some_and(|c| c.is_alphanumeric() || "._-~/}*<>".contains(c));
        let longer_name = after.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c));
        !inside_path && !longer_name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_folders_are_found_and_parts_of_paths_are_not() {
        let check = |line: &str, expected: bool| {
            assert_eq!(names_folder(line, FOLDERS[0]), expected, "{line}");
        };
        check(&format!("cd {}/main", FOLDERS[0]), true);
        check(&format!("\"{}\"", FOLDERS[0]), true);
        check(&format!("a{}/b", FOLDERS[0]), false);
        check(&format!("{}shop", FOLDERS[0]), false);
    }

    #[test]
    fn hosts_are_found_except_in_the_lock_file() {
        let text = format!("source = \"https://{}\"\n", HOSTS[2]);
        let findings = check(&Tree::of(&[("Cargo.lock", &text), ("README.md", &text)]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "README.md");
    }
}
