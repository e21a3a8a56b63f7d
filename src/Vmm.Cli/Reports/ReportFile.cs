using System.Text.Encodings.Web;
using System.Text.Json;

namespace Vmm.Cli.Reports;

/// <summary>The file for the report: opened before the run, so that a path that cannot be written is known before the guest has run.</summary>
internal sealed class ReportFile : IDisposable
{
    private readonly FileStream _file;
    private readonly bool _isNew;
    private bool _written;

    private ReportFile(FileStream file, bool isNew) => (_file, _isNew) = (file, isNew);

    public static ReportFile Open(string path)
    {
        try
        {
            var isNew = !File.Exists(path);
            return new ReportFile(new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.Read), isNew);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.BadArguments, $"--report {path}: {e.Message}");
        }
    }

    public void Write(RunReport report)
    {
        if (_file.CanSeek) _file.SetLength(0);

        // The file is read by programs and people, never put into a web page.
        var json = new ReportJson(new JsonSerializerOptions(ReportJson.Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        JsonSerializer.Serialize(_file, report, json.RunReport);
        _file.Write("\n"u8);
        _written = true;
    }

    /// <summary>Closes it. Without a report, there is no new file, and an old one is as it was.</summary>
    public void Dispose()
    {
        _file.Dispose();
        if (_isNew && !_written) File.Delete(_file.Name);
    }
}
