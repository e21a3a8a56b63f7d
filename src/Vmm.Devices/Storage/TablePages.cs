namespace Vmm.Devices.Storage;

/// <summary>Numbers of a table in a file, read by the page; a few hundred pages are kept.</summary>
internal sealed class TablePages(IBlockStore file)
{
    private const int PageSize = 4096, MaximumPages = 512;

    private readonly Lock _lock = new();
    private readonly Dictionary<long, byte[]> _pages = [];

    /// <summary>The page that holds a place, and where in it that is. A number that is aligned to itself lies in one page.</summary>
    public async ValueTask<(byte[] Page, int At)> FindAsync(long offset)
    {
        var number = offset / PageSize;
        lock (_lock)
        {
            if (_pages.TryGetValue(number, out var page)) return (page, (int)(offset % PageSize));
        }

        var read = new byte[PageSize];
        await file.ReadAsync(number * PageSize, read.AsMemory(0, (int)Math.Min(PageSize, file.Length - number * PageSize))).ConfigureAwait(false);
        lock (_lock)
        {
            if (_pages.Count >= MaximumPages) _pages.Clear();
            _pages[number] = read;
        }

        return (read, (int)(offset % PageSize));
    }
}
