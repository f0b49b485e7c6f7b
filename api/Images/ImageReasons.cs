using Contracts;

namespace Api.Images;

/// <summary>Why a registered image could not be downloaded: every code, its sentence and its remedy. What differs from case to case is the detail.</summary>
public static class ImageReasons
{
    public const string
        StatusRefused = "StatusRefused", RedirectRefused = "RedirectRefused", TooManyRedirects = "TooManyRedirects", NameNotResolved = "NameNotResolved", AddressRefused = "AddressRefused",
        ConnectFailed = "ConnectFailed", TlsFailed = "TlsFailed", TooSlow = "TooSlow", SizeDiffers = "SizeDiffers", DigestDiffers = "DigestDiffers", DiskRefused = "DiskRefused", Interrupted = "Interrupted";
    private const string Anew = "or upload the file (PUT /v1/images/{id}/files/{role}), or delete the image and register it anew.";

    private static readonly Dictionary<string, (string Message, string Remedy)> Table = new()
    {
        [StatusRefused] = ("The server does not give the file.", $"Look whether the url is right; then register the image anew, {Anew}"),
        [RedirectRefused] = ("The server redirects to a url that is not taken.", $"Name the url that it leads to, {Anew}"),
        [TooManyRedirects] = ("The server redirects again and again.", $"Name the url that it leads to, {Anew}"),
        [NameNotResolved] = ("The url's name could not be resolved.", $"Look at the url and the name's DNS records, {Anew}"),
        [AddressRefused] = ("The url's name has only addresses that this service does not connect to: private, loopback, link-local and the like.", $"Have an operator allow its network (Images__AllowedNetworks), {Anew}"),
        [ConnectFailed] = ("No connection could be made, or it broke before the end.", $"Look whether the server can be reached from here, {Anew}"),
        [TlsFailed] = ("The TLS handshake failed.", $"Look at the server's certificate: its name, its chain and its time; {Anew}"),
        [TooSlow] = ("The server gave less than a MiB in a minute.", $"Take another mirror, {Anew}"),
        [SizeDiffers] = ("The file has another size than the image was registered with.", $"Look at the url and the size, {Anew}"),
        [DigestDiffers] = ("The file has another SHA-256 than the image was registered with.", $"Look at the url and the digest, {Anew}"),
        [DiskRefused] = ("The file is no disk that a guest may be started from.", "Register the image with the format that the disk has; a qcow2 must be whole in itself (qemu-img convert makes one)."),
        [Interrupted] = ("The service was interrupted again and again while it downloaded the file.", $"Have an operator look at the service's log; {Anew}"),
    };

    public static IEnumerable<string> All => Table.Keys;

    public static Failure Failure(string reason, DateTimeOffset at, string? detail = null) => Table.TryGetValue(reason, out var text)
        ? new(reason, string.IsNullOrEmpty(detail) ? text.Message : $"{text.Message} {detail}", text.Remedy, at)
        : throw new InvalidOperationException($"no such reason: {reason}");
}
