//! Patterns of paths: `*` matches anything, `?` one character.

/// Whether a path fits a pattern.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.chars(), path.chars());
    let mut back = None;
    loop {
        let here = path.clone();
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                back = Some((pattern.clone(), here.clone()));
                path = here;
            }
            (Some('?'), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => {
                // The last `*` takes one character more.
                let Some((after_star, mut rest)) = back else {
                    return false;
                };
                if rest.next().is_none() {
                    return false;
                }
                back = Some((after_star.clone(), rest.clone()));
                (pattern, path) = (after_star, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_matches_stars_and_question_marks() {
        for (pattern, path) in [
            ("/etc/a", "/etc/a"),
            ("/etc/*", "/etc/a/b"),
            ("/etc/*.conf", "/etc/a.conf.conf"),
            ("/etc/rc?.d/*", "/etc/rc3.d/S01x"),
            ("*a*b*", "xaxxbx"),
            ("/etc/a*", "/etc/a"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/etc/a", "/etc/ab"),
            ("/etc/a*", "/etc/b"),
            ("/etc/rc?.d/*", "/etc/rc.d/x"),
            ("*.conf", "/etc/a.conf2"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }
}
