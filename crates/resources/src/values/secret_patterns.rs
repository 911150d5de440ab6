//! Patterns of secrets, which import names and leaves out.

/// What stands only in files that hold a key or a token.
const KEY_MARKERS: [&str; 6] = [
    "PRIVATE KEY-----",
    "client-key-data:",
    "PuTTY-User-Key-File",
    "openssh-key-v1",
    "-----BEGIN PGP PRIVATE",
    "\"private_key\"",
];
/// What a setting with a secret in it is called; its name ends so.
const SECRET_NAMES: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "psk",
    "secret",
    "secretkey",
    "secret-key",
    "secret_key",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "privatekey",
    "private-key",
    "private_key",
    "wepkey",
];
/// How tokens of well-known services begin.
const TOKEN_PREFIXES: [&str; 8] = [
    "ghp_",
    "github_pat_",
    "glpat-",
    "AKIA",
    "xoxb-",
    "xoxp-",
    "eyJhbGciOi",
    "sk_live_",
];
/// The shortest token of a service in characters.
const SHORTEST_TOKEN: usize = 20;

/// Whether a text holds a secret, as far as that can be seen.
pub(crate) fn contains_secret(text: &str) -> bool {
    KEY_MARKERS.iter().any(|mark| text.contains(mark)) || text.lines().any(is_line_secret)
}

/// Whether the value of a setting is a secret by the name of the setting.
pub(crate) fn is_name_secret(name: &str) -> bool {
    let name = name
        .trim_matches(|c: char| c.is_whitespace() || "\"'-".contains(c))
        .to_lowercase();
    SECRET_NAMES.iter().any(|known| name.ends_with(known))
}

fn is_line_secret(line: &str) -> bool {
    let line = line.trim();
    if line.starts_with(['#', ';']) || line.starts_with("//") {
        return false;
    }
    let mut words = line.split(|c: char| c.is_whitespace() || "\"'=:,".contains(c));
    if words.any(|word| {
        word.len() >= SHORTEST_TOKEN && TOKEN_PREFIXES.iter().any(|token| word.starts_with(token))
    }) {
        return true;
    }
    let Some((name, value)) = line.split_once(['=', ':']) else {
        return false;
    };
    if name == "Environment" {
        // What a unit of systemd gives to its process: systemd.exec(5).
        let settings = value.split_whitespace();
        return settings
            .map(|setting| setting.trim_matches(['"', '\'']))
            .any(is_line_secret);
    }
    // Of `export TOKEN` the last word is the name. A value that names a file or nothing is none.
    let name = name.split_whitespace().next_back().unwrap_or_default();
    let value = value.trim().trim_matches(|c| "\"',;".contains(c));
    let is_reference = value.starts_with(['/', '$', '<', '{', '[', '~']);
    let is_word = matches!(
        value,
        "" | "yes"
            | "no"
            | "true"
            | "false"
            | "none"
            | "null"
            | "off"
            | "on"
            | "files"
            | "compat"
            | "x"
            | "*"
    );
    is_name_secret(name) && !is_reference && !is_word && !value.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_secret_detects_common_file_formats() {
        for text in [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n",
            "-----BEGIN RSA PRIVATE KEY-----",
            "users:\n- user:\n    client-key-data: LS0t\n",
            "    token: eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.x.y\n",
            "PrivateKey = aGVsbG8=\n",
            "psk=hunter2",
            "db_password: \"hunter2\"",
            "export API_TOKEN=abc123",
            "[Service]\nEnvironment=A=b \"API_TOKEN=abc123\"\n",
            "{\"auth\": \"x\", \"secret\": \"y\"}\n  \"password\": \"hunter2\",",
            "machine x\n  header ghp_0123456789abcdefghij\n",
        ] {
            assert!(contains_secret(text), "{text}");
        }
    }

    #[test]
    fn contains_secret_ignores_mere_mentions() {
        for text in [
            "passwd:         files systemd\nshadow: files\n",
            "# password = x\n; token=y\n",
            "PasswordAuthentication no\n",
            "password\trequired\tpam_unix.so\n",
            "ssl_key = </etc/ssl/private/dovecot.pem\n",
            "--token-auth-file=/root/tokens\n",
            "password = \"\"\n",
            "token: ${TOKEN}\n",
            "Environment=SNAP_REEXEC=0 PASSWORD_FILE=/root/x\n",
            "Description: the token of the day\n",
        ] {
            assert!(!contains_secret(text), "{text}");
        }
    }
}
