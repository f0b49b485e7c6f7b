using Contracts;
using CsCheck;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Worker.Images;
using Xunit;

namespace Worker.Tests.Images;

public sealed class ImageCacheTests : IAsyncLifetime
{
    private readonly TemporaryDirectory _root = new();
    private readonly FakeTimeProvider _time = new(TimeProvider.System.GetUtcNow());
    private readonly StandInSource _source = new();
    private readonly HashSet<string> _inUse = [];
    private ImageCache _cache = null!;

    public ValueTask InitializeAsync()
    {
        _cache = NewCache();
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _cache.DisposeAsync();
        _root.Dispose();
    }

    private ImageCache NewCache(long most = 1 << 20) => new(_root.Of("images"), most, _source, _time, NullLogger.Instance) { InUse = () => { lock (_inUse) return _inUse.ToHashSet(); } };

    private async Task RestartAsync(long most = 1 << 20)
    {
        await _cache.DisposeAsync();
        _cache = NewCache(most);
    }

    private static byte[] Bytes(int count, byte seed) => [.. Enumerable.Range(0, count).Select(i => (byte)((i * 7) + seed))];

    private PlannedImage Image(byte seed, int bytes = 1000, bool initrd = false) => new(Guid.NewGuid(), "arm64", "6.12", true, "quiet", null,
        [_source.Add(ImageFileRole.Kernel, Bytes(bytes, seed)), .. initrd ? [_source.Add(ImageFileRole.Initrd, Bytes(bytes / 2, (byte)(seed + 1)))] : (PlannedImageFile[])[]]);

    private string PathOf(PlannedImage image, int file = 0) => Path.Combine(_root.Of("images"), image.Files[file].Sha256);

    private string PartOf(PlannedImage image) => Path.Combine(_root.Of("images"), "parts", image.Files[0].Sha256);

    /// <summary>As a sandbox that waits for it does, until it is there.</summary>
    private async Task<VerifiedImage> ReadyAsync(PlannedImage image)
    {
        Use(image);
        return await Eventually.GetAsync(() =>
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            return (_cache.Want("own", image) as CachedImage.Ready)?.Image;
        }, "the image is there");
    }

    private void Use(PlannedImage image)
    {
        lock (_inUse)
            _inUse.UnionWith(image.Files.Select(f => f.Sha256));
    }

    private void Leave(PlannedImage image)
    {
        lock (_inUse)
            _inUse.ExceptWith(image.Files.Select(f => f.Sha256));
    }

    private async Task<CachedImage.Delayed> DelayedAsync(PlannedImage image)
    {
        Use(image);
        return await Eventually.GetAsync(() => _cache.Want("own", image) as CachedImage.Delayed, "it is told why it does not come");
    }

    [Fact]
    public async Task Want_OfAnImageThatIsNotHere_FetchesEachFileOnceForTheVmmToRead()
    {
        var image = Image(1, initrd: true);
        Use(image);
        Assert.IsType<CachedImage.Coming>(_cache.Want("own", image));
        var found = Assert.IsType<KernelImage>(await ReadyAsync(image));
        Assert.Equal((PathOf(image), PathOf(image, 1), "quiet", true), (found.Kernel, found.Initrd, found.CommandLine, found.Manifest.HasAgent));
        Assert.Equal(Bytes(1000, 1), await File.ReadAllBytesAsync(found.Kernel, TestContext.Current.CancellationToken));
        // Every VMM's user may read it, and nobody write it.
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead, File.GetUnixFileMode(found.Kernel));
        Assert.Equal((UnixFileMode)0b111_001_001, File.GetUnixFileMode(_root.Of("images")));
        await ReadyAsync(image);
        Assert.Equal([0, 0], _source.Asked.Select(a => a.From));
        Assert.Equal((1500, 2, 0), (_cache.Bytes, _cache.FetchedFiles, _cache.FailedFetches));
        Assert.Empty(Directory.GetFiles(Path.Combine(_root.Of("images"), "parts")));
    }

    [Fact]
    public async Task Want_AfterAnAnswerThatWasCut_GoesOnWhereItEnded()
    {
        var image = Image(2);
        _source.CutAfter = 300;
        var delayed = await DelayedAsync(image);
        Assert.Equal("ImageFetchFailed", delayed.Reason.Code);
        Assert.Contains("300 of 1000", delayed.Detail, StringComparison.Ordinal);
        Assert.Equal("ImageFetchFailed", Assert.Single(_cache.Problems).Reason);
        _source.CutAfter = null;
        Assert.NotNull(await ReadyAsync(image));
        Assert.Equal([0, 300], _source.Asked.Select(a => a.From));
        Assert.Empty(_cache.Problems);
    }

    [Fact]
    public async Task Want_AfterACrash_GoesOnWithThePart_AndVerifiesWhatIsWhole()
    {
        var (whole, cut) = (Image(3), Image(4));
        await ReadyAsync(whole);
        _source.CutAfter = 400;
        await DelayedAsync(cut);
        await RestartAsync();
        _source.CutAfter = null;
        _source.Asked.Clear();
        await ReadyAsync(whole);
        await ReadyAsync(cut);
        Assert.Equal([(cut.Files[0].Sha256, 400L)], _source.Asked);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Want_OfAFileThatWasChanged_FetchesItAnew(bool restarts)
    {
        var image = Image(5);
        var path = ((KernelImage)await ReadyAsync(image)).Kernel;
        File.SetUnixFileMode(path, (UnixFileMode)0b110_100_100);
        var changed = Bytes(1000, 77);
        await File.WriteAllBytesAsync(path, changed, TestContext.Current.CancellationToken);
        File.SetLastWriteTimeUtc(path, DateTime.UnixEpoch);
        if (restarts)
            await RestartAsync();
        await ReadyAsync(image);
        Assert.Equal(Bytes(1000, 5), await File.ReadAllBytesAsync(path, TestContext.Current.CancellationToken));
        Assert.Equal(2, _source.Asked.Count);
    }

    [Fact]
    public async Task Want_OfASourceThatGivesOtherBytes_KeepsNothingOfThem()
    {
        var image = Image(6);
        _source.Lies = true;
        Assert.Contains("another SHA-256", (await DelayedAsync(image)).Detail, StringComparison.Ordinal);
        Assert.False(File.Exists(PathOf(image)));
        Assert.False(File.Exists(PartOf(image)));
        // Not again at once.
        Assert.IsType<CachedImage.Delayed>(_cache.Want("own", image));
        Assert.Single(_source.Asked);
        _source.Lies = false;
        await ReadyAsync(image);
    }

    [Fact]
    public async Task Want_OfAPartThatIsNotTheFiles_BeginsAnew()
    {
        var image = Image(7);
        Directory.CreateDirectory(Path.GetDirectoryName(PartOf(image))!);
        await File.WriteAllBytesAsync(PartOf(image), Bytes(500, 99), TestContext.Current.CancellationToken);
        await RestartAsync();
        await DelayedAsync(image);
        await ReadyAsync(image);
        Assert.Equal([500, 0], _source.Asked.Select(a => a.From));
    }

    [Fact]
    public async Task Want_BeyondTheLimit_EvictsTheLeastRecentlyUsed_AndNeverWhatIsUsed()
    {
        await RestartAsync(3500);
        PlannedImage[] images = [Image(10), Image(20), Image(30)];
        foreach (var image in images)
            await ReadyAsync(image);
        // The first is used again, the second is running, the third is neither.
        Leave(images[0]);
        Leave(images[2]);
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.IsType<CachedImage.Ready>(_cache.Want("own", images[0]));
        var next = Image(40);
        await ReadyAsync(next);
        Assert.Equal([true, true, false, true], ((PlannedImage[])[.. images, next]).Select(i => File.Exists(PathOf(i))));
        Assert.Equal((3000, 1), (_cache.Bytes, _cache.EvictedFiles));

        // All that is left is used: another does not fit, evicts nothing, and says so.
        Use(images[0]);
        var full = await DelayedAsync(Image(50));
        Assert.Equal("ImageCacheFull", full.Reason.Code);
        Assert.Equal((3000, 1), (_cache.Bytes, _cache.EvictedFiles));
        Assert.Equal("ImageCacheFull", Assert.Single(_cache.Problems).Reason);
        Leave(images[0]);
        await ReadyAsync(Image(50));
        Assert.False(File.Exists(PathOf(images[0])));
    }

    [Fact]
    public async Task Want_OfMany_FetchesTwoAtOnce()
    {
        _source.Gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        PlannedImage[] images = [Image(60), Image(70), Image(80), Image(90)];
        foreach (var image in images)
        {
            Use(image);
            _cache.Want("own", image);
        }
        await Eventually.TrueAsync(() => _source.Asked.Count == ImageCache.MostAtOnce, "two are asked for");
        _source.Gate.SetResult();
        foreach (var image in images)
            await ReadyAsync(image);
        Assert.Equal(ImageCache.MostAtOnce, _source.MostAtOnce);
    }

    [Theory]
    [InlineData("../../etc/passwd")]
    [InlineData("")]
    [InlineData("ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789")]
    public void Want_OfADigestThatIsNone_AsksNobody(string sha256)
    {
        var image = Image(1) with { Files = [new PlannedImageFile(ImageFileRole.Kernel, sha256, 10)] };
        Assert.Equal("ImageCorrupt", Assert.IsType<CachedImage.Delayed>(_cache.Want("own", image)).Reason.Code);
        Assert.Empty(_source.Asked);
    }

    [Fact]
    public async Task Want_OfAQcow2WithABackingFile_StartsNothingFromIt()
    {
        var file = _source.Add(ImageFileRole.Disk, DiskImageTests.Qcow2(backing: 1));
        var image = new PlannedImage(Guid.NewGuid(), "arm64", "6.12", false, null, DiskFormat.Qcow2, [file]);
        var delayed = await DelayedAsync(image);
        Assert.Contains("backing file", delayed.Detail, StringComparison.Ordinal);
    }

    private static readonly Gen<ImageEviction.Kept[]> _kept =
        Gen.Select(Gen.Int[0, 9], Gen.Long[0, 100], Gen.Int[0, 5], Gen.Bool).Select((name, bytes, used, busy) => new ImageEviction.Kept($"{name}", bytes, DateTime.UnixEpoch.AddSeconds(used), busy)).Array[0, 10]
            .Select(all => all.DistinctBy(k => k.Sha256).ToArray());

    [Fact]
    public void Eviction_OfAnything_KeepsWhatIsUsed_IsEnough_AndNoMoreThanNeeded() =>
        Gen.Select(_kept, Gen.Int[0, 9].HashSet[0, 10], Gen.Long[-10, 400]).Sample((kept, used, most) =>
        {
            var inUse = used.Select(n => $"{n}").ToHashSet();
            var (evicted, fits) = ImageEviction.Choose(kept, inUse, most);
            var byName = kept.ToDictionary(k => k.Sha256);
            var left = kept.Where(k => !evicted.Contains(k.Sha256)).ToList();
            var mayGo = kept.Where(k => !k.Busy && !inUse.Contains(k.Sha256)).ToList();
            var possible = kept.Sum(k => k.Bytes) - mayGo.Sum(k => k.Bytes) <= most;
            return fits == possible
                && evicted.All(e => !byName[e].Busy && !inUse.Contains(e))
                && (fits ? left.Sum(k => k.Bytes) <= most : evicted.Count == 0)
                // Without its last one it would not have been enough, and what stays was not used before what goes.
                && (evicted.Count == 0 || left.Sum(k => k.Bytes) + byName[evicted[^1]].Bytes > most)
                && evicted.All(e => mayGo.Where(k => k.Bytes > 0 && !evicted.Contains(k.Sha256)).All(k => k.UsedAt >= byName[e].UsedAt));
        });
}
