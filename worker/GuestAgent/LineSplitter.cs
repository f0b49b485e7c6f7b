namespace GuestAgent;

/// <summary>Cuts a byte stream into lines. A line over the limit is dropped whole and counted, so that the next one is read correctly.</summary>
public sealed class LineSplitter(int maxLineBytes)
{
    private readonly List<byte> _line = [];
    private bool _tooLong;

    public int DroppedLines { get; private set; }

    /// <summary>The complete, non-empty lines that these bytes end, without their line ends.</summary>
    public IReadOnlyList<byte[]> Push(ReadOnlySpan<byte> bytes)
    {
        var lines = new List<byte[]>();
        while (bytes.Length > 0)
        {
            var end = bytes.IndexOf((byte)'\n');
            var part = end < 0 ? bytes : bytes[..end];
            bytes = end < 0 ? [] : bytes[(end + 1)..];
            if (!_tooLong && _line.Count + part.Length <= maxLineBytes)
                _line.AddRange(part);
            else
                _tooLong = true;
            if (end >= 0)
                Finish(lines);
        }
        return lines;
    }

    /// <summary>Forgets a half line: what follows comes from another connection.</summary>
    public void Reset()
    {
        _line.Clear();
        _tooLong = false;
    }

    private void Finish(List<byte[]> lines)
    {
        if (_tooLong)
            DroppedLines++;
        else
        {
            if (_line.Count > 0 && _line[^1] == (byte)'\r')
                _line.RemoveAt(_line.Count - 1);
            if (_line.Count > 0)
                lines.Add([.. _line]);
        }
        Reset();
    }
}
