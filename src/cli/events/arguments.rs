//! Arguments of `mobilens events`.

use std::path::PathBuf;

use clap::Args;

/// Which events to show, and how. All filters apply together.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("form").args(["json", "csv", "coco"])))]
pub struct EventsArgs {
    /// The file that a sink `store` or `analyze --store` wrote.
    #[arg(value_name = "EVENTS.db")]
    pub database: PathBuf,
    /// Only of this stream.
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// Only of this kind: track, zone, loiter, line, area_above, area_below or source.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only of this class, for instance person.
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// Only in this zone or over this line.
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// Only what began then or later: today, yesterday, 2026-03-01, 2026-03-01T18:30, 24h or 7d ago, or 0:01:30 in a
    /// recording.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what began before; a date is included.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only those with all these words in names, labels and attributes.
    #[arg(long, value_name = "WORDS")]
    pub text: Option<String>,
    /// Only this one.
    #[arg(long, value_name = "ID")]
    pub id: Option<i64>,
    /// So many at most, the newest first; default: 100 in a table, else all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// As JSON lines.
    #[arg(long)]
    pub json: bool,
    /// As CSV with a head.
    #[arg(long)]
    pub csv: bool,
    /// Write the thumbnails' boxes and labels as COCO instances; the pictures are what --thumbnails writes.
    #[arg(long, value_name = "FILE.json")]
    pub coco: Option<PathBuf>,
    /// Also write the thumbnails as JPEG files into this folder, named by the events' numbers.
    #[arg(long, value_name = "DIR")]
    pub thumbnails: Option<PathBuf>,
}
