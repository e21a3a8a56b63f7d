using Vmm.Cli.Terminal;

namespace Vmm.Cli.Images;

/// <summary>Tells on standard error how far something is: a line that is written over on a terminal, nothing elsewhere.</summary>
internal sealed class ProgressLine(HostStreams streams, string what) : IProgress<double>, IDisposable
{
    private int _shown = -1;

    public void Report(double value)
    {
        var percent = (int)(value * 100);
        if (!streams.IsErrorTerminal || percent == _shown) return;
        _shown = percent;
        streams.Error.Write($"\r{what}: {percent} %");
        streams.Error.Flush();
    }

    public void Dispose()
    {
        if (_shown >= 0) streams.Error.WriteLine();
    }
}
