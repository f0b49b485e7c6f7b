using System.Buffers.Binary;
using System.Security.Cryptography;
using Contracts;
using Worker.Images;
using Xunit;

namespace Worker.Tests.Images;

/// <summary>Images that are a disk.</summary>
public sealed class DiskImageTests : IDisposable
{
    private readonly TemporaryDirectory _root = new();

    public void Dispose() => _root.Dispose();

    /// <summary>An image of a disk with these bytes; the manifest may be changed.</summary>
    internal static string Write(TemporaryDirectory root, string name, string format, byte[] content, Func<string, string>? change = null)
    {
        var folder = Directory.CreateDirectory(root.Of(name)).FullName;
        var disk = Path.Combine(folder, "disk.img");
        File.WriteAllBytes(disk, content);
        var json = $$$"""{"name":"{{{name}}}","architecture":"arm64","kernelVersion":"6.12","hasAgent":false,"diskFormat":"{{{format}}}","files":{"disk":{"path":"disk.img","sha256":"{{{Convert.ToHexStringLower(SHA256.HashData(content))}}}","bytes":{{{content.Length}}} } } }""";
        File.WriteAllText(Path.Combine(folder, "image.json"), change?.Invoke(json) ?? json);
        return disk;
    }

    internal static byte[] Qcow2(uint version = 3, ulong backing = 0, uint encryption = 0, ulong features = 0, int bytes = 4096)
    {
        var header = new byte[bytes];
        BinaryPrimitives.WriteUInt32BigEndian(header, 0x514649fb);
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(4), version);
        BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(8), backing);
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(32), encryption);
        if (bytes >= 80)
            BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(72), features);
        return header;
    }

    private string? Problem(string format, byte[] content, Func<string, string>? change = null)
    {
        Write(_root, "cloud", format, content, change);
        return new ImageCatalogue(_root.FullPath).Find("cloud", out var problem) is null ? $"{problem.Reason.Code}: {problem.Detail}" : null;
    }

    [Theory]
    [InlineData("raw", DiskFormat.Raw)]
    [InlineData("qcow2", DiskFormat.Qcow2)]
    public void Find_OfADisk_IsADiskImage(string name, DiskFormat format)
    {
        var disk = Write(_root, "cloud", name, Qcow2());
        var image = Assert.IsType<DiskImage>(new ImageCatalogue(_root.FullPath).Find("cloud", out _));
        Assert.Equal(new ImageDisk(disk, format), image.Disk);
        Assert.Equal(("cloud", false, 4096L), (image.ToReport().Name, image.ToReport().HasAgent, image.ToReport().SizeBytes));
    }

    public static TheoryData<string, string> BadManifests => new()
    {
        { ",\"diskFormat\":\"raw\"", "" },
        { "\"diskFormat\":\"raw\"", "\"diskFormat\":null" },
        { "\"diskFormat\":\"raw\"", "\"diskFormat\":\"vmdk\"" },
        { "\"diskFormat\":\"raw\"", "\"diskFormat\":0" },
        { "\"diskFormat\":\"raw\"", "\"diskFormat\":\"raw\",\"commandLine\":\"quiet\"" },
        { "\"files\":{\"disk\":", "\"files\":{\"kernel\":" },
        { "\"disk.img\"", "\"../cloud/disk.img\"" },
        { "\"sha256\":\"", "\"sha256\":\"00" },
        { "\"bytes\":", "\"bytes\":1" },
    };

    [Theory]
    [MemberData(nameof(BadManifests))]
    public void Find_WhenTheManifestIsWrong_IsCorrupt(string part, string replacement) =>
        Assert.StartsWith("ImageCorrupt: ", Problem("raw", [1, 2, 3], json => json.Replace(part, replacement, StringComparison.Ordinal)));

    [Theory]
    [InlineData("kernel")]
    [InlineData("initrd")]
    public void Find_WhenADiskStandsBesideOneOfAKernelsFiles_IsCorrupt(string other) => Assert.StartsWith("ImageCorrupt: ", Problem(
        "raw", [1, 2, 3], json => json.Replace("\"files\":{\"disk\":", $"\"files\":{{\"{other}\":{json[(json.IndexOf("\"disk\":", StringComparison.Ordinal) + 7)..^4]},\"disk\":", StringComparison.Ordinal)));

    [Fact]
    public void Find_WhenADiskChangesLater_IsCorrupt()
    {
        var disk = Write(_root, "cloud", "raw", [1, 2, 3]);
        var catalogue = new ImageCatalogue(_root.FullPath);
        Assert.NotNull(catalogue.Find("cloud", out _));
        File.WriteAllBytes(disk, [3, 2, 1]);
        File.SetLastWriteTimeUtc(disk, DateTime.UnixEpoch);
        Assert.Null(catalogue.Find("cloud", out var problem));
        Assert.Equal("ImageCorrupt", problem.Reason.Code);
    }

    public static TheoryData<byte[], string?> Qcow2s => new()
    {
        { Qcow2(), null },
        { Qcow2(version: 2), null },
        { Qcow2(version: 2, bytes: 72), null },
        { Qcow2(features: 1 << 3), null },
        { Qcow2(backing: 512), "backing file" },
        { Qcow2(version: 2, backing: 1UL << 63), "backing file" },
        { Qcow2(features: 1 << 2), "another file" },
        { Qcow2(encryption: 2), "encrypted" },
        { Qcow2(version: 1), "version 1" },
        { Qcow2(version: 4), "version 4" },
        { Qcow2(bytes: 76), "version 3" },
        { [0x51, 0x46, 0x49], "no qcow2" },
        { new byte[4096], "no qcow2" },
        { [], "no qcow2" },
    };

    [Theory]
    [MemberData(nameof(Qcow2s))]
    public void Find_OfAQcow2_TakesNoneThatReadsAnotherFile(byte[] content, string? wrong)
    {
        var problem = Problem("qcow2", content);
        if (wrong is null)
            Assert.Null(problem);
        else
            Assert.Contains(wrong, problem, StringComparison.Ordinal);
        // The same bytes as a raw disk are the guest's own.
        Assert.Null(Problem("raw", content));
    }
}
