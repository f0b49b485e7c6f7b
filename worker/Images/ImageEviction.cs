namespace Worker.Images;

// Pure: what goes so that what is kept fits.
// Guarantees: nothing that is used, and nothing that is at work; the least recently used first, and no more of them than needed. What cannot be made to fit evicts nothing.
internal static class ImageEviction
{
    /// <summary>A file, or a part of one. <c>Busy</c>: it is being fetched or read.</summary>
    public sealed record Kept(string Sha256, long Bytes, DateTime UsedAt, bool Busy);

    /// <summary>Those to be evicted in order, and whether the rest is at most <paramref name="mostBytes"/>.</summary>
    public static (IReadOnlyList<string> Evicted, bool Fits) Choose(IReadOnlyList<Kept> kept, IReadOnlySet<string> inUse, long mostBytes)
    {
        var bytes = kept.Sum(k => k.Bytes);
        var evicted = new List<string>();
        foreach (var next in kept.Where(k => !k.Busy && !inUse.Contains(k.Sha256) && k.Bytes > 0).OrderBy(k => k.UsedAt).ThenBy(k => k.Sha256, StringComparer.Ordinal))
        {
            if (bytes <= mostBytes)
                break;
            evicted.Add(next.Sha256);
            bytes -= next.Bytes;
        }
        return bytes <= mostBytes ? (evicted, true) : ([], false);
    }
}
