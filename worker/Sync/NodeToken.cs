using System.Diagnostics.CodeAnalysis;

namespace Worker.Sync;

// The node's token on this machine, and another one that was fetched and not used yet, which lies beside it.
// Guarantees: each file appears whole, with mode 0600, or not at all. Both are kept until the API has taken one of them: the one fetched is tried first, and the other when it is refused.
// So one of them is good wherever the worker or the API crashes; the one that was taken becomes the only one.
public sealed class NodeToken(string file)
{
    private const int MaxChars = 128;
    private const string Prefix = "sbn_";
    private volatile bool _fetchedIsRefused;

    private string Fetched => file + ".next";

    /// <summary>What the next connection shows. Read at each, so that one that an operator writes is taken up.</summary>
    public async Task<string> ReadAsync()
    {
        IsFetched = File.Exists(Fetched) && !_fetchedIsRefused;
        return (await File.ReadAllTextAsync(IsFetched ? Fetched : file)).Trim();
    }

    /// <summary>Whether what was read last is the fetched one.</summary>
    public bool IsFetched { get; private set; }

    /// <summary>When the present one was written.</summary>
    public DateTimeOffset WrittenAt => new(File.GetLastWriteTimeUtc(file), TimeSpan.Zero);

    public void Fetch(string secret)
    {
        Write(Fetched, secret);
        _fetchedIsRefused = false;
    }

    /// <summary>The API has taken what was read last.</summary>
    public void Taken()
    {
        if (!File.Exists(Fetched))
            return;
        if (IsFetched)
            File.Move(Fetched, file, overwrite: true);
        else
            File.Delete(Fetched);
        LibC.SyncDirectory(Path.GetDirectoryName(Path.GetFullPath(file))!);
        IsFetched = false;
    }

    /// <summary>The API has refused what was read last. True: there is another to try.</summary>
    public bool Refused()
    {
        if (!File.Exists(Fetched))
            return false;
        // When both were refused it begins with the fetched one again: a refusal may be the API's fault.
        _fetchedIsRefused = IsFetched;
        return IsFetched;
    }

    /// <summary>A secret of any other form would later be a header that cannot be sent.</summary>
    public static bool HasForm(string? text, [NotNullWhen(true)] out string? secret)
    {
        secret = text is { Length: <= MaxChars } && text.StartsWith(Prefix, StringComparison.Ordinal) && text.All(IsTokenChar) ? text : null;
        return secret is not null;
    }

    public static bool IsTokenChar(char c) => char.IsAsciiLetterOrDigit(c) || c is '_' or '-';

    public static void Write(string path, string secret) => WholeFile.Replace(path, System.Text.Encoding.ASCII.GetBytes(secret + "\n"));
}
