using System.Security.Cryptography;
using Worker.Images;
using Xunit;

namespace Worker.Tests.Images;

public sealed class ImageCatalogueTests : IDisposable
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private readonly TemporaryDirectory _root = new();

    public void Dispose() => _root.Dispose();

    private ImageCatalogue Catalogue => new(_root.FullPath);

    private string Write(string name, Func<string, string>? change = null, string kernel = "kernel")
    {
        var folder = Directory.CreateDirectory(_root.Of(name)).FullName;
        File.WriteAllText(Path.Combine(folder, "kernel"), kernel);
        var digest = Convert.ToHexStringLower(SHA256.HashData("kernel"u8));
        var json = $$$"""{"name":"{{{name}}}","architecture":"arm64","kernelVersion":"6.12","hasAgent":true,"commandLine":"quiet","files":{"kernel":{"path":"kernel","sha256":"{{{digest}}}","bytes":6}},"builtAt":"2026-01-01T00:00:00Z"}""";
        File.WriteAllText(Path.Combine(folder, "image.json"), change?.Invoke(json) ?? json);
        return folder;
    }

    [Fact]
    public void Scan_WhenFilesAreTheManifests_OffersTheImage()
    {
        var folder = Write("guest");
        var (images, problems) = Catalogue.Scan(Now);
        Assert.Empty(problems);
        var image = Assert.Single(images);
        Assert.Equal("sha256:" + Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(Path.Combine(folder, "image.json")))), image.Digest);
        Assert.Equal(("guest", "6.12", true, 6L), (image.ToReport().Name, image.ToReport().Kernel, image.ToReport().HasAgent, image.ToReport().SizeBytes));
        var kernel = Assert.IsType<KernelImage>(image);
        Assert.Equal((Path.Combine(folder, "kernel"), null, "quiet"), (kernel.Kernel, kernel.Initrd, kernel.CommandLine));
    }

    public static TheoryData<string, string> BadManifests => new()
    {
        { "\"kernel\",\"sha", "\"../guest/kernel\",\"sha" },
        { "\"kernel\",\"sha", "\"/etc/passwd\",\"sha" },
        { "\"kernel\",\"sha", "\"..\",\"sha" },
        { "\"kernel\",\"sha", "\"\",\"sha" },
        { "\"bytes\":6", "\"bytes\":7" },
        { "\"sha256\":\"", "\"sha256\":\"00" },
        { "\"arm64\"", "\"amd64\"" },
        { "\"name\":\"guest\"", "\"name\":\"other\"" },
        { "\"commandLine\":\"quiet\"", "\"commandLine\":\"a\\nb\"" },
        { "\"commandLine\":\"quiet\"", "\"commandLine\":null" },
        { "\"files\":{\"kernel\"", "\"files\":{\"disk\"" },
        { "{\"name\"", "[{\"name\"" },
        { "}", "" },
    };

    [Theory]
    [MemberData(nameof(BadManifests))]
    public void Scan_WhenManifestLies_OffersNothingAndSaysWhy(string part, string replacement)
    {
        Write("guest", json => json.Replace(part, replacement, StringComparison.Ordinal));
        var (images, problems) = Catalogue.Scan(Now);
        Assert.Empty(images);
        Assert.Equal("ImageCorrupt", Assert.Single(problems).Reason);
    }

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData("../guest")]
    [InlineData("/guest")]
    [InlineData("GUEST")]
    [InlineData("guest\n")]
    [InlineData("absent")]
    public void Find_WhenNameIsHostileOrAbsent_IsMissing(string name)
    {
        Write("guest");
        Assert.Null(Catalogue.Find(name, out var problem));
        Assert.Equal("ImageMissing", problem.Reason.Code);
    }

    [Fact]
    public void Find_WhenAFileChangesLater_IsCorrupt()
    {
        var catalogue = Catalogue;
        var folder = Write("guest");
        Assert.NotNull(catalogue.Find("guest", out _));
        File.WriteAllText(Path.Combine(folder, "kernel"), "evil!!");
        File.SetLastWriteTimeUtc(Path.Combine(folder, "kernel"), Now.UtcDateTime);
        Assert.Null(catalogue.Find("guest", out var problem));
        Assert.Equal("ImageCorrupt", problem.Reason.Code);
    }

    [Fact]
    public async Task Scan_WhenAFileIsLarge_GoesOnWithoutTheImageUntilItIsRead()
    {
        var folder = Write("large");
        using (var kernel = new FileStream(Path.Combine(folder, "kernel"), FileMode.Create))
            kernel.SetLength(ImageCatalogue.LargeBytes);
        var digest = await SHA256.HashDataAsync(File.OpenRead(Path.Combine(folder, "kernel")), TestContext.Current.CancellationToken);
        Write("small");
        File.WriteAllText(Path.Combine(folder, "image.json"), $$$"""{"name":"large","architecture":"arm64","kernelVersion":"1","hasAgent":true,"commandLine":"","files":{"kernel":{"path":"kernel","sha256":"{{{Convert.ToHexStringLower(digest)}}}","bytes":{{{ImageCatalogue.LargeBytes}}} } } }""");
        var catalogue = Catalogue;
        var (images, problems) = catalogue.Scan(Now);
        Assert.Equal(("small", "ImageBeingVerified"), (images.Single().Manifest.Name, problems.Single().Reason));
        Assert.True(catalogue.HasAgent("large"));
        Assert.NotNull(catalogue.Find("large", out _));
        Assert.Equal(["large", "small"], catalogue.Scan(Now).Images.Select(i => i.Manifest.Name));
    }

    [Fact]
    public void Find_WhenVmsMayNotReadAFile_SaysSo()
    {
        File.SetUnixFileMode(Path.Combine(Write("guest"), "kernel"), UnixFileMode.UserRead);
        Assert.Null(Catalogue.Find("guest", out var problem));
        Assert.Equal("ImageUnreadable", problem.Reason.Code);
    }

    [Fact]
    public void Scan_WhenThereIsNone_SaysHowToGetOne() => Assert.Equal("NoImage", Assert.Single(Catalogue.Scan(Now).Problems).Reason);
}
