namespace Worker.Console;

// Pure: keys as kvmtool takes them (term.c, term_getc). Ctrl-A is its escape: doubled it reaches the guest, followed by x it ends the VM.
internal static class ConsoleKeys
{
    private const byte Escape = 0x01;

    /// <summary>Parts of at most <paramref name="maxPart"/> bytes in which every escape is doubled and no pair is torn.</summary>
    public static IEnumerable<byte[]> Parts(ReadOnlyMemory<byte> keys, int maxPart)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxPart, 2);
        var part = new List<byte>(Math.Min(maxPart, 2 * keys.Length));
        for (var at = 0; at < keys.Length; at++)
        {
            var key = keys.Span[at];
            var needed = key == Escape ? 2 : 1;
            if (part.Count + needed > maxPart)
            {
                yield return [.. part];
                part.Clear();
            }
            part.Add(key);
            if (key == Escape)
                part.Add(key);
        }
        if (part.Count > 0)
            yield return [.. part];
    }
}
