//! Operators of libtorch that only `TorchScript` can name.

use std::io::{Cursor, Write};

use tch::CModule;
use zip::ZipWriter;
use zip::result::ZipResult;
use zip::write::SimpleFileOptions;

/// The methods of the class `name` of `source`, in the form that libtorch writes into its files of modules.
pub(crate) fn compile(name: &str, source: &str) -> Result<CModule, String> {
    let archive = archive(name, source).map_err(|error| error.to_string())?;
    CModule::load_data(&mut Cursor::new(archive)).map_err(|error| error.to_string())
}

/// libtorch's format of modules: a ZIP file with the code, the module (an object without attributes) and no constants.
/// The latter two are in Python's pickle format.
fn archive(name: &str, source: &str) -> ZipResult<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let module = [b"\x80\x02c__torch__\n", name.as_bytes(), b"\n)\x81}b."].concat();
    let files: [(&str, &[u8]); 4] = [
        ("module/data.pkl", &module),
        ("module/code/__torch__.py", source.as_bytes()),
        ("module/constants.pkl", b"\x80\x02)."),
        ("module/version", b"3\n"),
    ];
    for (path, content) in files {
        zip.start_file(path, stored)?;
        zip.write_all(content)?;
    }
    Ok(zip.finish()?.into_inner())
}
