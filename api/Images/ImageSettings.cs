using Api.Webhooks;

namespace Api.Images;

/// <summary>Settings <c>Images__MaxFileBytes</c> (8 GiB), <c>Images__MaxDiskBytes</c> (64 GiB: what a guest sees of a qcow2, and may write on its node), and of downloads <c>Images__Downloads</c> (4: how many files a replica downloads at once), <c>Images__AllowedNetworks</c> (CIDR, separated by commas; none: public addresses only) and <c>Images__AllowHttp</c> (false).</summary>
public sealed record ImageSettings(long MaxFileBytes, long MaxDiskBytes, int MostDownloads, ConnectionRules Downloads)
{
    /// <summary>Of a project, and of those that are shared.</summary>
    public const int MaxImages = 1000;
    private const long LargestFile = 1L << 40;

    /// <summary>Of one project's at once, on all replicas together, so that none ever holds every place of even one replica; shared images are one project more.</summary>
    public int MostDownloadsOfProject => MostDownloads / 2;

    public static ImageSettings Read(IConfiguration configuration)
    {
        var settings = new ImageSettings(configuration.GetValue("Images:MaxFileBytes", 8L << 30), configuration.GetValue("Images:MaxDiskBytes", 64L << 30), configuration.GetValue("Images:Downloads", 4), ConnectionRules.Read(configuration, "Images"));
        if (settings.MaxDiskBytes is < 1 or > LargestFile) throw new InvalidOperationException($"Images:MaxDiskBytes takes 1 to {LargestFile}.");
        if (settings.MostDownloads is < 2 or > 64) throw new InvalidOperationException("Images:Downloads takes 2 to 64.");
        return settings.MaxFileBytes is >= 1 and <= LargestFile ? settings : throw new InvalidOperationException($"Images:MaxFileBytes takes 1 to {LargestFile}.");
    }
}
