using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.EntityFrameworkCore;

namespace Api.Images;

/// <summary>How many files come in at once on this replica: each costs a megabyte of memory and time of the database.</summary>
public sealed class UploadRooms
{
    public const int Most = 16, MostOfProject = 4;
    private readonly Lock gate = new();
    private readonly Dictionary<Guid, int> uploads = [];

    /// <summary>Null: there is no room now. Disposing it makes room again.</summary>
    public IDisposable? Take(Guid project)
    {
        lock (gate)
        {
            var own = uploads.GetValueOrDefault(project);
            if (own >= MostOfProject || uploads.Values.Sum() >= Most) return null;
            uploads[project] = own + 1;
        }
        return new Room(this, project);
    }

    private void Leave(Guid project)
    {
        lock (gate)
        {
            if (--uploads[project] == 0) uploads.Remove(project);
        }
    }

    private sealed class Room(UploadRooms rooms, Guid project) : IDisposable
    {
        public void Dispose() => rooms.Leave(project);
    }
}

/// <summary>Takes a file of a registered image in. Guarantees: it is stored only when size and SHA-256 are those that the image was registered with. The same file again is compared, and changes nothing.</summary>
public static class ImageUploads
{
    public static async Task<IResult> Put(Guid id, string role, HttpContext http, SandboxDb db, ContentStore store, ImageFiles files, UploadRooms rooms, CancellationToken ct)
    {
        var (image, problem) = await ImageRoutes.FindToChangeAsync(id, http, db, ct);
        if (image is null) return problem!;
        if (ImageValidation.Role(role) is not { } wanted || image.Files.Find(f => f.Role == wanted) is not { } file) return ApiProblem.Of(404, "image_file_not_found", "The image was registered without a file of that role.");
        if (http.Request.ContentLength is { } told && told != file.Bytes) return Differs($"It has {told} bytes instead of {file.Bytes}.");
        using var room = rooms.Take(image.ProjectId ?? http.User.ProjectId());
        if (room is null)
        {
            http.Response.Headers.RetryAfter = "5";
            return ApiProblem.Of(429, "too_many_uploads", $"{UploadRooms.MostOfProject} files of a project, and {UploadRooms.Most} in all, may come in at once; wait until one is here.");
        }
        if (http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit) limit.MaxRequestBodySize = file.Bytes;
        var there = await db.StoredImageFiles.AnyAsync(f => f.ImageId == id && f.Role == wanted, ct);
        db.ChangeTracker.Clear();
        var written = await store.WriteAsync(http.Request.Body, file, image.DiskFormat, keeps: !there, ct);
        switch (written.Problem)
        {
            case ContentProblem.TooSlow:
                return ApiProblem.Of(408, "upload_too_slow", $"Less than a MiB came in a minute. {written.Detail} Send the file again.");
            case ContentProblem.DiskRefused:
                return ApiProblem.Of(422, "image_disk_refused", $"The file is no disk that a guest may be started from. {written.Detail}");
            case not ContentProblem.None:
                return Differs(written.Detail);
        }
        if (written.Content is { } content && await files.AttachAsync(id, wanted, content, ct) is null) return ImageRoutes.NotFound();
        db.ChangeTracker.Clear();
        return await ImageRoutes.GetAsync(id, http, db, ct);
    }

    private static IResult Differs(string? detail) => ApiProblem.Of(422, "image_file_differs", $"The file is not the one that the image was registered with. {detail}");
}
