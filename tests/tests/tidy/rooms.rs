//! The tables of rooms in ARCHITECTURE.md: below the heading `### crates/NAME`, a row for each room.

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Room {
    /// A directory of `src`, or the stem of a file.
    pub(crate) name: String,
    imports: Imports,
}

#[derive(Debug)]
enum Imports {
    /// What stands above it in the table.
    AllAbove(Vec<String>),
    These(Vec<String>),
}

impl Room {
    /// Whether the table allows an import of another room.
    pub(crate) fn may_import(&self, other: &str) -> bool {
        match &self.imports {
            Imports::AllAbove(rooms) | Imports::These(rooms) => {
                rooms.iter().any(|room| room == other)
            }
        }
    }
}

/// Returns the rooms of a crate, from the bottom to the top.
///
/// # Panics
/// If there is no table, or a row says something that is neither `–`, `all above` nor a list of rooms above it.
pub(crate) fn rooms(architecture: &str, name: &str) -> Vec<Room> {
    let heading = format!("### crates/{name}\n");
    let (_, text) = architecture
        .split_once(&heading)
        .unwrap_or_else(|| panic!("ARCHITECTURE.md has no heading {heading:?}"));
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with("| `"));
    let mut rooms: Vec<Room> = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [names, _owns, imports] = cells[..] else {
            panic!("the row has not three cells: {row}")
        };
        let above: Vec<String> = rooms.iter().map(|room| room.name.clone()).collect();
        for room in names.split(' ') {
            let imports = match imports {
                "–" => Imports::These(Vec::new()),
                "all above" => Imports::AllAbove(above.clone()),
                list => {
                    let list: Vec<String> = list.split(", ").map(cell_name).collect();
                    for import in &list {
                        assert!(above.contains(import), "{import} is not above {row}");
                    }
                    Imports::These(list)
                }
            };
            rooms.push(Room {
                name: cell_name(room),
                imports,
            });
        }
    }
    assert!(!rooms.is_empty(), "the table of {name} has no row");
    rooms
}

fn cell_name(cell: &str) -> String {
    let name = cell.trim_matches('`');
    name.trim_end_matches('/')
        .trim_end_matches(".rs")
        .to_owned()
}
