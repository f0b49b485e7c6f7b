using System.Security.Claims;
using Api.Data;
using Api.Http;
using Api.Nodes;
using Api.Projects;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Npgsql;

namespace Api.Images;

public static class ImageRoutes
{
    private static readonly Access ForShared = new(Role.Admin, OfService: true);

    public static void MapImages(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v1/images").WithTags("Images");
        group.MapGet("/", ListAsync).Requires(Role.Viewer).WithSummary("The images that sandboxes may name: the project's registered ones, those that all share, and the folders of nodes; source tells which.").Produces<Page<ImageView>>();
        group.MapPost("/", CreateAsync).Requires(Role.Operator).WithSummary("Register an image. Its files are downloaded from their urls, or uploaded; it is Ready when all of them are here.")
            .Produces<ImageView>(201).ProducesProblem(400).ProducesProblem(409).ProducesProblem(422);
        group.MapGet("/{id:guid}", GetAsync).Requires(Role.Viewer).WithSummary("One registered image.").Produces<ImageView>().ProducesProblem(404);
        group.MapPut("/{id:guid}/files/{role}", ImageUploads.Put).Requires(Role.Operator).WithSummary("Upload a file of a registered image: the body is its content, whatever its type.")
            .WithDescription("role: kernel, initrd or disk. Refused unless size and SHA-256 are those that the image was registered with, and when less than a MiB comes in a minute. Each MiB is stored as it comes; nothing is kept of a file that does not come whole.")
            .Accepts<Stream>(isOptional: true, "*/*").Produces<ImageView>().ProducesProblem(404).ProducesProblem(408).ProducesProblem(412).ProducesProblem(413).ProducesProblem(422);
        group.MapDelete("/{id:guid}", DeleteAsync).Requires(Role.Operator).WithSummary("Remove a registered image that no sandbox names.").Produces(204).ProducesProblem(404).ProducesProblem(409).ProducesProblem(412);
        // Of workers, whose protocol the document does not describe.
        routes.MapGet(NodeProtocol.ImageFilesPath + "{sha256}", NodeImageFiles.Get).RequireAuthorization(Schemes.Node).ExcludeFromDescription();
    }

    public static IResult NotFound() => ApiProblem.Of(404, "registered_image_not_found", "There is no registered image with that id.");

    private static IResult SharedRefused() => ApiProblem.Of(403, "forbidden", $"Shared images are registered, filled and removed by {ForShared}.");

    private static IQueryable<RegisteredImage> Seen(SandboxDb db, Guid project) => db.RegisteredImages.AsNoTracking().Where(i => i.ProjectId == project || i.ProjectId == null);

    private static async Task<Page<ImageView>> ListAsync(HttpContext http, SandboxDb db, CancellationToken ct)
    {
        var registered = await Seen(db, http.User.ProjectId()).OrderBy(i => i.ProjectId == null).ThenBy(i => i.Name).Take(2 * ImageSettings.MaxImages).ToListAsync(ct);
        var rows = await (from i in db.NodeImages.AsNoTracking() join n in db.Nodes on i.NodeId equals n.Id orderby i.Name, n.Name select new { i, n.Name }).ToListAsync(ct);
        var folders = rows.GroupBy(r => (r.i.Name, r.i.Digest)).Select(g => new ImageView(
            g.Key.Name, g.Key.Digest, g.First().i.Architecture, g.First().i.Kernel, g.First().i.HasAgent, g.First().i.SizeBytes,
            http.User.Operates() ? g.Select(r => r.Name).ToList() : null));
        return new Page<ImageView>([.. await ViewsAsync(db, registered, http.User, ct), .. folders], null);
    }

    public static async Task<IResult> GetAsync(Guid id, HttpContext http, SandboxDb db, CancellationToken ct) =>
        await Seen(db, http.User.ProjectId()).SingleOrDefaultAsync(i => i.Id == id, ct) is { } image ? Results.Ok((await ViewsAsync(db, [image], http.User, ct))[0]).Tagged(image.Version) : NotFound();

    private static async Task<List<ImageView>> ViewsAsync(SandboxDb db, List<RegisteredImage> images, ClaimsPrincipal user, CancellationToken ct)
    {
        var ids = images.ConvertAll(i => i.Id);
        var stored = (await db.StoredImageFiles.AsNoTracking().Where(f => ids.Contains(f.ImageId)).Select(f => new { f.ImageId, f.Role }).ToListAsync(ct)).ToLookup(f => f.ImageId, f => f.Role);
        return images.ConvertAll(i => i.ToView(stored[i.Id].ToHashSet(), i.ProjectId is not null || ForShared.Allows(user)));
    }

    private static async Task<IResult> CreateAsync(ImageCreate? create, HttpContext http, SandboxDb db, ImageSettings settings, ImageDownloads downloads, TimeProvider time, CancellationToken ct)
    {
        if (create is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        if (ImageValidation.Check(create, settings) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        var shared = create.Shared is true;
        if (shared && !ForShared.Allows(http.User)) return SharedRefused();
        var image = From(create, shared ? null : http.User.ProjectId(), time.GetUtcNow());
        await using var transaction = await db.BeginAsync(ct);
        if (await RefusalAsync(db, image, ct) is { } refusal) return refusal;
        db.RegisteredImages.Add(image);
        if (image.Files.Exists(f => f.Url is not null)) db.ImageDownloads.Add(new ImageDownload { ImageId = image.Id, ClaimedUntil = image.CreatedAt, DueAt = image.CreatedAt });
        try
        {
            await db.SaveChangesAsync(ct);
            await transaction.CommitAsync(ct);
        }
        catch (DbUpdateException e) when (e.InnerException is PostgresException { SqlState: PostgresErrorCodes.UniqueViolation })
        {
            return ApiProblem.Of(409, "name_taken", $"There is an image named {image.Name} already{(shared ? " that all share" : " in the project")}.", new Dictionary<string, string[]> { ["name"] = ["is taken"] });
        }
        await db.AfterCommitAsync(downloads.Wake);
        return Results.Created($"/v1/images/{image.Id}", image.ToView(new HashSet<ImageFileRole>(), showsUrls: true)).Tagged(image.Version);
    }

    /// <summary>Registrations of a project wait here for each other, so that its quotas hold.</summary>
    private static async Task<IResult?> RefusalAsync(SandboxDb db, RegisteredImage image, CancellationToken ct)
    {
        if (image.ProjectId is { } project)
        {
            if (await Quotas.LockAsync(db, project, ct) is not { } tenant) return ProjectEndpoints.NotFound();
            return await Quotas.ImageProblemAsync(db, tenant, image.SizeBytes, ct) is { } over ? ApiProblem.QuotaExceeded(over) : null;
        }
        await db.Database.ExecuteSqlAsync($"SELECT pg_advisory_xact_lock(hashtextextended('shared images', 0))", ct);
        return await db.RegisteredImages.CountAsync(i => i.ProjectId == null, ct) >= ImageSettings.MaxImages
            ? ApiProblem.Of(409, "too_many_images", $"There are {ImageSettings.MaxImages} shared images, as many as there may be.")
            : null;
    }

    /// <summary>Of a valid request.</summary>
    private static RegisteredImage From(ImageCreate create, Guid? project, DateTimeOffset now)
    {
        var files = ImageValidation.FilesOf(create);
        return new RegisteredImage
        {
            Id = Guid.CreateVersion7(now),
            ProjectId = project,
            Name = create.Name!,
            Architecture = create.Architecture ?? ImageRules.Architecture,
            KernelVersion = create.KernelVersion!,
            HasAgent = create.HasAgent is true,
            CommandLine = create.DiskFormat is null ? create.CommandLine : null,
            DiskFormat = create.DiskFormat,
            Files = files,
            SizeBytes = files.Sum(f => f.Bytes),
            Phase = ImagePhase.Waiting,
            CreatedAt = now,
            UpdatedAt = now,
        };
    }

    /// <summary>One that the caller may fill and remove, at the version that it has read; else why not.</summary>
    public static async Task<(RegisteredImage? Image, IResult? Problem)> FindToChangeAsync(Guid id, HttpContext http, SandboxDb db, CancellationToken ct)
    {
        var project = http.User.ProjectId();
        if (await db.RegisteredImages.SingleOrDefaultAsync(i => i.Id == id && (i.ProjectId == project || i.ProjectId == null), ct) is not { } image) return (null, NotFound());
        if (image.ProjectId is null && !ForShared.Allows(http.User)) return (null, SharedRefused());
        return IfMatch.Of(http).Problem(image.Version) is { } failed ? (null, failed) : (image, null);
    }

    private static async Task<IResult> DeleteAsync(Guid id, HttpContext http, SandboxDb db, CancellationToken ct)
    {
        var (image, problem) = await FindToChangeAsync(id, http, db, ct);
        if (image is null) return problem!;
        var users = await db.Sandboxes.CountAsync(s => s.ImageId == id, ct);
        if (users > 0) return InUse(users);
        db.RegisteredImages.Remove(image);
        try
        {
            await db.SaveChangesAsync(ct);
        }
        catch (DbUpdateException e) when (e.InnerException is PostgresException { SqlState: PostgresErrorCodes.ForeignKeyViolation })
        {
            // Asked for just now.
            return InUse(1);
        }
        return Results.NoContent();
    }

    private static IResult InUse(int users) => ApiProblem.Of(409, "image_in_use", $"{users} sandbox(es) name the image; delete them first.");
}
