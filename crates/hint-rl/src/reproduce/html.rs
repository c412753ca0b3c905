//! The page of a reproduction: text, tables, and the escapes that make them safe to show.

/// Text that HTML shows unchanged.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A table with a header.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) id: &'static str,
    pub(super) title: String,
    pub(super) about: String,
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows, which is not shown.
    pub(super) fn empty(id: &'static str, title: &str) -> Self {
        let (title, about) = (title.to_owned(), String::new());
        Self { id, title, about, header: Vec::new(), rows: Vec::new() }
    }

    /// The table as HTML; nothing without rows.
    pub(super) fn html(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let row = |cells: &[String], tag: &str| {
            let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        let Self { id, title, about, header, rows } = self;
        let rows = rows.iter().map(|cells| row(cells, "td")).collect::<String>();
        let (title, about, header) = (escape(title), escape(about), row(header, "th"));
        format!(
            "<section id=\"{id}\"><h2>{id}: {title}</h2><p>{about}</p><div class=\"wide\"><table>\n\
             {header}{rows}</table></div></section>\n"
        )
    }
}

/// The whole page.
pub(super) fn page(title: &str, style: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>{style}\n\
         main {{ max-width: 1200px; margin: 0 auto; padding: 20px; }}\n\
         section {{ margin: 28px 0; }} .wide {{ overflow-x: auto; }}\n\
         table {{ border-collapse: collapse; margin-top: 8px; font-variant-numeric: tabular-nums; }}\n\
         td, th {{ padding: 3px 9px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }}\n\
         td:first-child, th:first-child {{ text-align: left; }}\n\
         .figures {{ display: flex; flex-wrap: wrap; gap: 20px; }} figure {{ width: 560px; max-width: 100%; }}\n\
         figure polyline {{ fill: none; stroke-width: 1.8; }} figure polygon {{ fill-opacity: 0.1; stroke: none; }} figure text {{ fill: var(--soft); font-size: 11px; }}\n\
         .grid {{ stroke: var(--grid); }} .legend span {{ white-space: nowrap; margin-right: 8px; }}\n\
         </style></head>\n<body><main><h1>{title}</h1>\n{body}</main></body></html>\n"
    )
}
