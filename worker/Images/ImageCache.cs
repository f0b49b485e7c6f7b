using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Checks;

namespace Worker.Images;

// The files of registered images, by their SHA-256, below the state directory: fetched from the API when a sandbox needs them, kept for the next one, evicted when others need the room.
//   images/SHA256         whole, verified, read-only for everybody who knows its name
//   images/parts/SHA256   being fetched; the worker's alone
// Guarantees: a file is used only when its digest was computed in this process and it has not changed since. What is kept and fetched never exceeds the limit: the least recently used goes first,
// and never what a planned or running sandbox uses, so what does not fit beside those is not fetched (ImageCacheFull). At most MostAtOnce are fetched at once, each file once however many wait for it.
// On a crash: whole files are verified again before their next use, parts are gone on with where they end, and digests tell whether that was right.
public sealed class ImageCache : IAsyncDisposable
{
    public const int MostAtOnce = 2;
    private const int MostProblems = 8;
    private static readonly TimeSpan FullPause = TimeSpan.FromSeconds(5);
    private const UnixFileMode Traversable = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(60);
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Entry> _entries = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _rooms = new(MostAtOnce);
    private readonly CancellationTokenSource _end = new();
    private readonly string _directory, _parts;
    private readonly long _maxBytes;
    private readonly IImageSource _source;
    private readonly TimeProvider _time;
    private readonly ILogger _log;

    public ImageCache(string directory, long maxBytes, IImageSource source, TimeProvider time, ILogger log)
    {
        (_directory, _parts, _maxBytes, _source, _time, _log) = (directory, Path.Combine(directory, "parts"), maxBytes, source, time, log);
        Directory.CreateDirectory(_directory, Traversable);
        File.SetUnixFileMode(_directory, Traversable);
        Directory.CreateDirectory(_parts, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        // Whatever else lies there is nobody's: only names that could be files of ours are looked at.
        foreach (var file in new DirectoryInfo(_directory).EnumerateFiles().Where(f => ImageRules.IsSha256(f.Name)))
            _entries[file.Name] = new Entry(file.Name, file.Length) { State = State.Unverified, UsedAt = file.LastAccessTimeUtc };
        foreach (var part in new DirectoryInfo(_parts).EnumerateFiles())
            if (ImageRules.IsSha256(part.Name) && !_entries.ContainsKey(part.Name))
                _entries[part.Name] = new Entry(part.Name, part.Length) { State = State.Part, UsedAt = part.LastAccessTimeUtc };
            else
                part.Delete();
    }

    /// <summary>The SHA-256 of each file that a planned or running sandbox uses; asked whenever something is to be evicted.</summary>
    public Func<IReadOnlySet<string>> InUse { private get; set; } = () => new HashSet<string>();

    public long EvictedFiles => Interlocked.Read(ref _evicted);
    public long FetchedFiles => Interlocked.Read(ref _fetched);
    public long FailedFetches => Interlocked.Read(ref _failed);
    private long _evicted, _fetched, _failed;

    /// <summary>Of all files, and of the parts as far as they have come.</summary>
    public long Bytes
    {
        get
        {
            lock (_lock)
                return _entries.Values.Sum(e => e.State == State.Fetching ? Volatile.Read(ref e.Done) : e.Bytes);
        }
    }

    /// <summary>What keeps files that are needed from coming, for people to read.</summary>
    public IReadOnlyList<Failure> Problems
    {
        get
        {
            lock (_lock)
            {
                var inUse = InUse();
                return [.. _entries.Values.Where(e => inUse.Contains(e.Sha256)).Select(e => e.Problem).OfType<Trouble>().OrderBy(t => t.At).Take(MostProblems).Select(t => t.Reason.ToFailure(t.At, t.Detail))];
            }
        }
    }

    /// <summary>Where the image stands; has what is missing fetched. The sandbox that asks must be among those that <see cref="InUse"/> tells of already, or it may be evicted again.</summary>
    public CachedImage Want(string name, PlannedImage image)
    {
        if (image.Files.FirstOrDefault(f => !ImageRules.IsSha256(f.Sha256) || f.Bytes < 1) is not null || image.Files.DistinctBy(f => f.Role).Count() != image.Files.Count || !ImageManifest.IsWhole(image))
            return new CachedImage.Delayed(NodeReasons.ImageCorrupt, $"It is {name}: the plan does not describe an arm64 image with either a kernel or a disk.");
        lock (_lock)
        {
            var entries = image.Files.Select(f => Look(f)).ToList();
            if (entries.Select(e => e.Problem).OfType<Trouble>().FirstOrDefault() is { } trouble)
                return new CachedImage.Delayed(trouble.Reason, trouble.Detail);
            if (!entries.TrueForAll(e => e.State == State.Verified))
                return new CachedImage.Coming(entries.Sum(e => e.State == State.Verified ? e.Bytes : Volatile.Read(ref e.Done)), image.Files.Sum(f => f.Bytes));
        }
        return Verified(name, image);
    }

    /// <summary>As <see cref="Want"/>, without fetching: null unless each file is here and verified.</summary>
    public VerifiedImage? Find(string name, PlannedImage image) => Want(name, image) is CachedImage.Ready ready ? ready.Image : null;

    private CachedImage Verified(string name, PlannedImage image)
    {
        var manifest = ImageManifest.Of(name, image);
        string? PathOf(ImageFileRole role) => image.Files.FirstOrDefault(f => f.Role == role) is { } file ? Path.Combine(_directory, file.Sha256) : null;
        var digest = $"sha256:{image.Files[0].Sha256}";
        if (image.DiskFormat is not { } format)
            return new CachedImage.Ready(new KernelImage(manifest, digest, PathOf(ImageFileRole.Kernel)!, PathOf(ImageFileRole.Initrd), image.CommandLine!));
        var disk = PathOf(ImageFileRole.Disk)!;
        return DiskFile.Problem(format, disk) is { } wrong
            ? new CachedImage.Delayed(NodeReasons.ImageCorrupt, $"It is {name}: its disk {wrong}.")
            : new CachedImage.Ready(new DiskImage(manifest, digest, new ImageDisk(disk, format)));
    }

    private enum State { Unverified, Verifying, Verified, Part, Fetching }

    private sealed record Trouble(Reason Reason, string Detail, DateTimeOffset At);

    private sealed class Entry(string sha256, long bytes)
    {
        public string Sha256 { get; } = sha256;
        /// <summary>On the disk, or, of one that is being fetched, that will be.</summary>
        public long Bytes { get; set; } = bytes;
        public State State { get; set; }
        public DateTime UsedAt { get; set; }
        /// <summary>Of a verified file, by which a change is seen.</summary>
        public DateTime Modified { get; set; }
        public long Done;
        public int Failures { get; set; }
        public DateTimeOffset NotBefore { get; set; }
        public Trouble? Problem { get; set; }
        public Task Work { get; set; } = Task.CompletedTask;
    }

    // Under the lock.
    private Entry Look(PlannedImageFile file)
    {
        if (!_entries.TryGetValue(file.Sha256, out var entry))
            _entries[file.Sha256] = entry = new Entry(file.Sha256, 0) { State = State.Part };
        if (entry.State == State.Verified && !IsAsVerified(entry))
            entry.State = State.Unverified;
        if (entry.State == State.Verified)
            Touch(entry);
        else if (_time.GetUtcNow() < entry.NotBefore)
            return entry;
        else if (entry.State == State.Unverified)
            Begin(entry, State.Verifying, () => VerifyAsync(entry, file));
        else if (entry.State == State.Part)
            BeginFetch(entry, file);
        return entry;
    }

    private void BeginFetch(Entry entry, PlannedImageFile file)
    {
        var others = _entries.Values.Where(e => e != entry).ToList();
        var (evicted, fits) = ImageEviction.Choose([.. others.Select(e => new ImageEviction.Kept(e.Sha256, e.Bytes, e.UsedAt, e.State is State.Verifying or State.Fetching))], InUse(), _maxBytes - file.Bytes);
        if (!fits)
        {
            entry.Problem = new(NodeReasons.ImageCacheFull, $"The limit is {_maxBytes} bytes, and a file of {file.Bytes} is wanted.", entry.Problem?.At ?? _time.GetUtcNow());
            entry.NotBefore = _time.GetUtcNow() + FullPause;
            return;
        }
        foreach (var sha256 in evicted)
            Evict(_entries[sha256]);
        entry.Bytes = file.Bytes;
        Begin(entry, State.Fetching, () => FetchAsync(entry, file));
    }

    private void Begin(Entry entry, State state, Func<Task> work)
    {
        entry.State = state;
        // Of one that was tried before it stays until something comes.
        entry.Problem = entry.Problem?.Reason == NodeReasons.ImageFetchFailed ? entry.Problem : null;
        entry.UsedAt = _time.GetUtcNow().UtcDateTime;
        entry.Work = Task.Run(work);
    }

    private void Touch(Entry entry)
    {
        var now = _time.GetUtcNow().UtcDateTime;
        if (now - entry.UsedAt < TimeSpan.FromSeconds(1))
            return;
        entry.UsedAt = now;
        // Kept for the next worker. It does not change what the file was verified by.
        File.SetLastAccessTimeUtc(PathOf(entry), now);
    }

    private void Evict(Entry entry)
    {
        File.Delete(PathOf(entry));
        File.Delete(PartOf(entry));
        _entries.Remove(entry.Sha256);
        if (entry.Bytes == 0)
            return;
        Interlocked.Increment(ref _evicted);
        _log.LogInformation("Image file {Sha256} was evicted: {Bytes} bytes", entry.Sha256, entry.Bytes);
    }

    private bool IsAsVerified(Entry entry) => new FileInfo(PathOf(entry)) is { Exists: true } file && file.Length == entry.Bytes && file.LastWriteTimeUtc == entry.Modified;

    private string PathOf(Entry entry) => Path.Combine(_directory, entry.Sha256);

    private string PartOf(Entry entry) => Path.Combine(_parts, entry.Sha256);

    private async Task VerifyAsync(Entry entry, PlannedImageFile file)
    {
        try
        {
            var whole = await ImageFetch.IsWholeAsync(PathOf(entry), file, _end.Token);
            lock (_lock)
            {
                if (whole)
                {
                    Verified(entry, file);
                    return;
                }
                _log.LogWarning("Image file {Sha256} is not what it was; it is fetched anew", entry.Sha256);
                File.Delete(PathOf(entry));
                (entry.State, entry.Bytes, entry.Done) = (State.Part, 0, 0);
            }
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException or OperationCanceledException)
        {
            Failed(entry, State.Unverified, problem.Message);
        }
    }

    private void Verified(Entry entry, PlannedImageFile file)
    {
        (entry.State, entry.Bytes, entry.Modified, entry.Failures, entry.Problem) = (State.Verified, file.Bytes, File.GetLastWriteTimeUtc(PathOf(entry)), 0, null);
        Volatile.Write(ref entry.Done, file.Bytes);
    }

    private async Task FetchAsync(Entry entry, PlannedImageFile file)
    {
        try
        {
            await _rooms.WaitAsync(_end.Token);
            try
            {
                await ImageFetch.RunAsync(_source, file, PartOf(entry), done => Progress(entry, done), () => InUse().Contains(file.Sha256), _time, _end.Token);
            }
            finally
            {
                _rooms.Release();
            }
            lock (_lock)
            {
                WholeFile.PutInPlace(PartOf(entry), PathOf(entry), UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
                Verified(entry, file);
            }
            Interlocked.Increment(ref _fetched);
            _log.LogInformation("Image file {Sha256} was fetched: {Bytes} bytes", file.Sha256, file.Bytes);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException or HttpRequestException or OperationCanceledException)
        {
            Failed(entry, State.Part, problem.Message);
        }
    }

    private static void Progress(Entry entry, long done)
    {
        if (Interlocked.Exchange(ref entry.Done, done) is > 0 and var before && before < done)
            entry.Problem = null;
    }

    private void Failed(Entry entry, State state, string detail)
    {
        lock (_lock)
        {
            // What is on the disk counts, whatever came of it.
            (entry.State, entry.Bytes) = (state, state == State.Part ? new FileInfo(PartOf(entry)) is { Exists: true } part ? part.Length : 0 : entry.Bytes);
            Volatile.Write(ref entry.Done, state == State.Part ? entry.Bytes : 0);
            if (_end.IsCancellationRequested)
                return;
            entry.Failures++;
            entry.NotBefore = _time.GetUtcNow() + TimeSpan.FromSeconds(Math.Min(LongestPause.TotalSeconds, Math.Pow(2, Math.Min(entry.Failures - 1, 10))));
            entry.Problem = new(NodeReasons.ImageFetchFailed, $"It is {entry.Sha256}: {detail}", _time.GetUtcNow());
        }
        Interlocked.Increment(ref _failed);
        _log.LogWarning("Image file {Sha256} could not be fetched, which is tried again: {Problem}", entry.Sha256, detail);
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        List<Task> work;
        lock (_lock)
            work = [.. _entries.Values.Select(e => e.Work)];
        await Task.WhenAll(work).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _end.Dispose();
        _rooms.Dispose();
    }
}
