using Contracts;

namespace Worker.Images;

// What the catalogue offers, for reports: looked through again only now and then, by whichever node of this process asks first.
public sealed class ImageScan(ImageCatalogue catalogue, TimeProvider time)
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(10);
    private readonly Lock _lock = new();
    private long? _scannedAt;
    private (IReadOnlyList<ReportedImage> Images, IReadOnlyList<Failure> Problems) _last = ([], []);

    public (IReadOnlyList<ReportedImage> Images, IReadOnlyList<Failure> Problems) Latest()
    {
        lock (_lock)
        {
            if (_scannedAt is { } at && time.GetElapsedTime(at) < Period)
                return _last;
            var (images, problems) = catalogue.Scan(time.GetUtcNow());
            _scannedAt = time.GetTimestamp();
            return _last = ([.. images.Select(i => i.ToReport())], problems);
        }
    }
}
